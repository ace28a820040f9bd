# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# make site                       three machines on this one, and a training job on them
# make site INVENTORY=path        the same job on your machines

INVENTORY ?=
ARGS ?=
NODES ?= 0
ONLY ?=

SHELL := /bin/sh
LOCAL := inventories/local/hosts.yml
VENV := $(if $(TRAINMESH_VENV),$(TRAINMESH_VENV),$(CURDIR)/.venv)
PLAYBOOK := $(VENV)/bin/ansible-playbook
LOCAL_CLUSTER := $(PLAYBOOK) playbooks/local_cluster.yml -e nodes=$(NODES)
COMPILE := $(VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-header --no-annotate
# A read of ansible.cfg from this directory also where everybody may write to it, as on shared folders.
export ANSIBLE_CONFIG := $(CURDIR)/ansible.cfg

.DEFAULT_GOAL := help
.PHONY: help venv site up down status test test-all lint lock clean

help: ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 18
	@echo 'Settings: INVENTORY=path of your machines, NODES=number of nodes on this machine,'
	@echo '          ARGS="further arguments of ansible-playbook", ONLY="unit lint" for some of the tests'

venv: ## Make the controller's environment in .venv
	@scripts/bootstrap.sh controller

site: venv ## Build the cluster and train on it (without INVENTORY: on three nodes on this machine)
ifeq ($(strip $(INVENTORY)),)
	@$(LOCAL_CLUSTER) -e state=up
	@$(PLAYBOOK) site.yml -i $(LOCAL) $(ARGS)
else
	@$(PLAYBOOK) site.yml -i $(INVENTORY) $(ARGS)
endif

up: venv ## Bring up the nodes on this machine
	@$(LOCAL_CLUSTER) -e state=up $(ARGS)

down: venv ## Take down the nodes on this machine, with all they hold
	@$(LOCAL_CLUSTER) -e state=down $(ARGS)

status: venv ## Show the nodes on this machine
	@$(LOCAL_CLUSTER) -e state=status $(ARGS)

test: ## Run all checks and tests
	@scripts/bootstrap.sh dev
	@scripts/test.sh $(ONLY)

test-all: ## Run also what takes hours: every fault, and the scenarios that are too long for each change
	@scripts/bootstrap.sh dev
	@scripts/test.sh --all $(ONLY)

lint: ## Run the linters alone
	@scripts/bootstrap.sh dev
	@scripts/test.sh lint

lock: venv ## Choose the newest versions anew and write the lock files
	@$(COMPILE) --upgrade requirements/controller.in -o requirements/controller.txt
	@$(COMPILE) --upgrade -c requirements/controller.txt requirements/controller.in requirements/dev.in \
		-o requirements/dev.txt

clean: ## Remove nodes, networks, images, the engine if we started it, environments and caches
	@scripts/clean.sh

#!/usr/bin/python
# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts about a node's network, RDMA devices, names, limits and host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: fabric_facts
short_description: Gather facts about network, names, limits and system of a node
version_added: "1.0.0"
author:
  - trainmesh.cluster contributors (@trainmesh)
description:
  - Reads the interfaces, RDMA devices, routes, name resolution, firewalls, ports, limits, disks and the system
    of a node, with the system Python alone and before anything is installed.
  - Only reads. Sends no packet except the questions of the node's own name resolver, and changes nothing.
  - What cannot be known, for want of privilege or because the node does not have it, is V(null); nothing is guessed.
    Firewall rules, the sockets of C(sshd) and PCI ACS need root.
  - Every command, every name look-up and every question to a network file system has a time limit, so the module
    always returns. What did not answer says so in its C(error).
extends_documentation_fragment:
  - trainmesh.cluster.attributes.facts
  - trainmesh.cluster.node.fabric
options:
  timeout:
    description:
      - Seconds that everything together may wait for. Name look-ups wait for 3 seconds at most.
    type: float
    default: 10
  root:
    description:
      - Directory whose C(proc), C(sys), C(etc), C(run) and C(dev) are read in the place of the real ones, to look
        at a recorded machine. The network is always the real one.
    type: path
    default: /
seealso:
  - module: trainmesh.cluster.node_facts
  - module: trainmesh.cluster.gpu_facts
  - module: trainmesh.cluster.stack_facts
"""

EXAMPLES = r"""
- name: Gather network facts of every node
  trainmesh.cluster.fabric_facts:

- name: Find the interface of the route to the other nodes
  trainmesh.cluster.fabric_facts:
    peers:
      - 10.0.0.11
      - 10.0.0.12
    names:
      - node1.example.org
      - node2.example.org

- name: Measure the disks that the installation needs
  trainmesh.cluster.fabric_facts:
    paths:
      - /data/trainmesh
      - ~/.cache
    timeout: 5
"""

RETURN = r"""
ansible_facts:
  description: The facts.
  returned: always
  type: dict
  contains:
    trainmesh_facts_fabric:
      description: Network and host of the node. Every key is always there; V(null) means unknown or absent.
      type: dict
      contains:
        hostname:
          description: The name that the kernel has.
          type: str
          sample: node2
        hostname_file:
          description: The content of C(/etc/hostname).
          type: str
          sample: node2
        can_set_hostname:
          description:
            - Whether root may set the kernel's name, which containers without C(CAP_SYS_ADMIN) refuse. V(null) where
              the module does not run as root.
          type: bool
          sample: true
        fqdn:
          description: The name that Python's C(socket.getfqdn) finds, which is what torch announces.
          type: str
          sample: node2.example.org
        resolution:
          description:
            - What the own name, O(names) and O(peers) resolve to on this node, by name.
            - C(addresses) in the resolver's order; C(loopback) when any of them is one; C(error).
          type: dict
          sample: {node2: {addresses: [127.0.1.1], loopback: true, error: null}}
        hosts_entries:
          description: The lines of C(/etc/hosts) that name this node or an address in 127.0.0.0/8.
          type: list
          elements: dict
          sample: [{line: 2, address: 127.0.1.1, names: [node2]}]
        hostname_file_mounted:
          description: Whether C(/etc/hostname) is a mount point, so that it cannot be replaced but only written.
          type: bool
          sample: true
        cloud_init:
          description:
            - What cloud-init will do at the next boot, V(null) where it is not there or switched off. C(writes_hosts)
              is whether it writes C(/etc/hosts) anew, C(keeps_name) whether it leaves the host name alone, with the
              lines that say so; C(given) whether the cloud's own data does. C(needs) are the lines of
              a drop-in that M(trainmesh.cluster.cloud_init) writes, C(foreign) whether its name is taken.
          type: dict
          sample: null
        name_service:
          description:
            - What decides on names where some of O(names) or O(peers) stand in C(/etc/hosts) and do not lead there, or
              where not everybody may read that file; else V(null).
            - C(names) are the line and the address of each such name, C(switch) the line about hosts of
              C(/etc/nsswitch.conf), C(nscd) whether its cache runs.
          type: dict
          sample: null
        cluster_block:
          description: Whose block of this collection C(/etc/hosts) holds, null without one. An old one has no C(id).
          type: dict
          sample: {id: 3fa9c1d2, head: node1, nodes: [{address: 10.0.0.11, name: node1}]}
        hosts_file_mounted:
          description: Whether C(/etc/hosts) is a mount point.
          type: bool
          sample: true
        machine_id:
          description: The machine-id; equal ones mean cloned machines.
          type: str
          sample: 446f205ac1024219a05fb4f8abd60ae1
        os:
          description: C(id), C(version_id), C(pretty_name) and C(id_like) of os-release.
          type: dict
          sample: {id: debian, version_id: "12", pretty_name: Debian GNU/Linux 12 (bookworm), id_like: null}
        kernel:
          description: The kernel release.
          type: str
          sample: 6.1.0-37-amd64
        arch:
          description: The machine type of C(uname).
          type: str
          sample: x86_64
        glibc:
          description: The version of glibc; V(null) on another C library.
          type: str
          sample: "2.36"
        python:
          description: The system's C(python3), and whether it has C(ensurepip), without which it makes no venv.
          type: dict
          sample: {path: /usr/bin/python3, version: 3.11.2, ensurepip: true}
        package_manager:
          description: V(apt), V(dnf), V(yum) or V(zypper).
          type: str
          sample: apt
        container:
          description: The kind of container, such as V(docker), V(podman), V(lxc), V(kubernetes) or V(wsl).
          type: str
          sample: docker
        virtual:
          description: The hypervisor, such as V(kvm), V(vmware) or V(amazon); V(other) if it does not say which.
          type: str
          sample: kvm
        interfaces:
          description:
            - Every network interface. C(kind) is V(loopback), V(physical), V(virtual), or what the kernel calls it,
              such as V(bond), V(bridge), V(vlan), V(veth), V(vxlan), V(tun), V(wireguard) or V(dummy). In a container
              the interface to the outside is usually a V(veth).
            - C(speed_mbps) is V(null) where there is no real one. C(family) of an address is V(ipv4) or V(ipv6),
              C(scope) is V(global), V(link) or V(host).
            - C(carrier_changes) is how often the link went up or down, C(rx_errors) how many broken packets came,
              both since the interface is there.
          type: list
          elements: dict
          sample:
            - name: eth0
              kind: veth
              type: ethernet
              up: true
              state: up
              carrier: true
              speed_mbps: null
              mtu: 1500
              mac: "02:42:0a:4d:00:0c"
              master: null
              driver: null
              numa_node: null
              rdma_device: null
              carrier_changes: 2
              rx_errors: 0
              addresses: [{address: 10.77.0.12, prefix: 24, family: ipv4, scope: global}]
        default_route:
          description: Interface, gateway and own address of the default route; V(null) without one.
          type: dict
          sample: {interface: eth0, gateway: 10.77.0.1, address: 10.77.0.12}
        source_rules:
          description: The networks of own addresses for whose packets rules of routing say where they leave.
          type: list
          elements: str
          sample: []
        vrf_accepts:
          description: Whether a listener takes connections that come in by an interface of a VRF (tcp_l3mdev_accept).
          type: bool
          sample: false
        strict_reverse_path:
          description:
            - The interfaces that drop a packet whose answer would leave by another one, as C(rp_filter) 1 has it;
              none where rules of routing beside the usual ones decide.
          type: list
          elements: str
          sample: []
        routes:
          description:
            - How each of O(peers) is reached. C(interface) is the one that has the source address.
            - C(reachable) says that there is a route; whether the peer answers is not tried. C(leaves_by) is there
              where packets leave by another interface than C(interface).
          type: dict
          sample:
            10.77.0.11: {address: 10.77.0.11, interface: eth0, source: 10.77.0.12, reachable: true, error: null}
        rdma:
          description:
            - C(devices), their C(source) (V(sysfs), V(ibv_devinfo) or V(ibstat)), the character devices C(uverbs) and
              whether C(libibverbs) is installed.
            - C(state) of a port is V(ACTIVE), V(DOWN), V(INIT) (no subnet manager) or V(ARMED). Judge it before
              C(rate_gbps), which a port that is down keeps. The error counters stick at their maximum.
          type: dict
          sample:
            source: sysfs
            uverbs: [uverbs0]
            libibverbs: true
            devices:
              - name: mlx5_bond_0
                fw_ver: 32.38.3056
                board_id: MT_0000000884
                hca_type: MT41692
                node_guid: null
                node_type: null
                pci_address: null
                driver: null
                numa_node: null
                interfaces: []
                ports:
                  - port: 1
                    state: ACTIVE
                    phys_state: LinkUp
                    rate: 200 Gb/sec (2X NDR)
                    rate_gbps: 200
                    link_layer: Ethernet
                    lid: null
                    sm_lid: null
                    active_mtu: null
                    max_mtu: null
                    gids: []
                    counters: {link_downed: 0, link_error_recovery: 0, symbol_error: 0, port_rcv_errors: 0}
        peermem:
          description: Whether the module that gives RDMA devices access to GPU memory is loaded.
          type: bool
          sample: false
        dmabuf:
          description: Whether driver and kernel can do the same by DMA-BUF; V(null) without an NVIDIA driver.
          type: bool
          sample: null
        iommu:
          description: Whether an IOMMU is on, its groups by type, and the kernel options that name it.
          type: dict
          sample: {enabled: false, groups: 0, types: {}, cmdline: []}
        acs:
          description: Whether PCI bridges redirect peer-to-peer traffic, and which; read on GPU and RDMA nodes by
            root.
          type: dict
          sample: {enabled: false, bridges: []}
        ssh_session:
          description: The ssh connection that carries this run, V(null) for a local one.
          type: dict
          sample: {client_address: 10.77.0.1, client_port: 37454, server_address: 10.77.0.12, server_port: 2222}
        limits:
          description:
            - C(memlock) and C(stack) in bytes, C(nofile) in files, C(nproc) in processes and threads of the user. V(-1)
              is unlimited. Soft limits, and C(hard) ones.
            - C(of) is V(ssh session) when they are those that sshd gives to a command, else V(this process). With a job
              user other than that of the session (M(trainmesh.cluster.node_facts)) it is V(login of) and the name.
          type: dict
          sample:
            memlock: 8388608
            nofile: 1024
            stack: 8388608
            nproc: 63432
            hard: {memlock: 8388608, nofile: 20000, stack: -1, nproc: 63432}
            of: ssh session
        listening_ports:
          description: TCP ports that something on the node listens on, on any address.
          type: list
          elements: int
          sample: [2222, 33859]
        sshd:
          description:
            - C(ports) on which the sshd of this login listens. C(source) is V(process) if its sockets were read
              (root), V(config) if something listens on the ports that its configuration names, V(session) if only
              the port of this login is known.
            - C(config_ports) are those that its command line (C(-p), C(-o Port)), or else its configuration, asks for,
              listened on or not.
            - C(systemd) says whether systemd runs the machine, so that C(systemctl) can restart it.
            - C(binary_deleted) says whether its program was replaced on the disk since it was started, as an upgrade
              without a restart leaves it; V(null) when C(source) is not V(process).
          type: dict
          sample:
            ports: [2222]
            source: process
            addresses: [0.0.0.0, "::"]
            pid: 96
            binary_deleted: false
            config_ports: [2222]
            unit: ssh.service
            systemd: true
        firewalls:
          description:
            - The firewalls that are installed or have rules. C(active) says whether rules of this one can keep a
              packet out now, V(null) if that could not be read. V(nftables) and V(iptables) are rules outside the
              others; C(blocking) of V(nftables), where it is active, is the family, table and chain that does.
            - C(flushed) is there, and true, where firewalld or ufw is on and its rules are not loaded.
          type: list
          elements: dict
          sample:
            - {name: firewalld, active: true, evidence: firewalld.service is active}
            - {name: ufw, active: false, evidence: "ENABLED=no in /etc/ufw/ufw.conf, its chains are not loaded"}
            - {name: nftables, active: false, evidence: no rule of its own drops or rejects}
            - {name: iptables, active: false, evidence: INPUT accepts everything}
        filtered:
          description:
            - The rules of these firewalls that keep back TCP packets to O(peers) or from them, V(null) if they could
              not be read or are too many to try. Empty where all gets through.
            - C(direction) is V(out) or V(in), C(answers) whether the answers on a connection are meant, C(tool) who
              manages the rule, C(undo) the command that takes it away, C(ports) pairs of ports, inclusive. C(peers) are
              the addresses that it keeps back, V(null) for all of O(peers). C(sure) is false where the rule has a
              condition that was not judged.
          type: list
          elements: dict
          sample:
            - direction: out
              answers: false
              tool: iptables
              chain: iptables OUTPUT
              rule: -A OUTPUT -d 10.0.0.12/32 -j DROP
              undo: iptables -D OUTPUT -d 10.0.0.12/32 -j DROP
              ports: [[1, 65535]]
              sure: true
              peers: [10.0.0.12]
        filtered_at_boot:
          description:
            - The rules of iptables or nftables that an enabled service loads at boot, V(null) where none does. C(file)
              and C(unit) say which file and unit, C(save) is the command that keeps the rules of now, C(rows) are as
              in RV(ansible_facts.trainmesh_facts_fabric.filtered).
          type: dict
          sample: null
        port_range:
          description: The ephemeral ports, inclusive, and the ports that are reserved out of them.
          type: dict
          sample: {low: 32768, high: 60999, reserved: null}
        unprivileged_port_start:
          description: The first port that a user who is not root may listen on.
          type: int
          sample: 1024
        memory_bytes:
          description: Memory of the machine.
          type: int
          sample: 25276510208
        memory_available_bytes:
          description: Memory that is available without swapping.
          type: int
          sample: 24643649536
        cpus:
          description: Processors that the run may use.
          type: int
          sample: 2
        cgroup_limits:
          description:
            - Memory, processors, and processes and threads that the container may use; V(null) is unlimited.
            - C(login) has the C(pids) that a login of the job user may have by systemd, and the C(unit) that says so.
          type: dict
          sample: {memory_bytes: null, pids: null, cpus: null, login: null}
        shm:
          description: Size and free space of C(/dev/shm), V(null) when nothing is mounted there.
          type: dict
          sample: {total_bytes: 268435456, free_bytes: 268435456}
        disks:
          description:
            - The file system of each of O(paths), under the path as given. C(existing) is the place that was measured,
              C(free_bytes) what an ordinary user may fill, C(local) false for network and FUSE file systems.
          type: dict
          sample:
            /opt/trainmesh:
              path: /opt/trainmesh
              existing: /opt
              mount: /
              source: overlay
              fs_type: overlay
              local: true
              readonly: false
              noexec: false
              total_bytes: 270553174016
              free_bytes: 82514124800
              error: null
        clock:
          description:
            - The time daemon that runs (V(chronyd), V(systemd-timesyncd), V(ntpd)), whether the kernel holds the clock
              for synchronised, its own bound of the error, and the time.
          type: dict
          sample: {source: null, synchronised: false, max_error_us: 16000000, epoch: 1795260974.262438}
        selinux:
          description: V(enforcing), V(permissive) or V(disabled).
          type: str
          sample: disabled
        apparmor:
          description: Whether AppArmor is on.
          type: bool
          sample: false
        alike:
          description:
            - What is not listed because it is as expected, empty without O(addresses).
            - C(resolution) (of O(names)), C(resolution_of_peers), C(routes) and C(cluster_block) have the common
              C(form) of what is said of a node as JSON, with V(<name>) and V(<address>) for those of the node, and
              C(without), the names of which nothing is said.
          type: dict
          sample:
            resolution: {form: '{"addresses": ["<address>"], "error": null, "loopback": false}', without: []}
        replayed_from:
          description: The directory of O(devices_root); V(null) where the devices are the node's own.
          type: str
          sample: null
        errors:
          description: Parts that could not be read although they should have been, and why; normally empty.
          type: dict
          sample: {}
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.trainmesh.cluster.plugins.module_utils._fabric import facts as fabric_facts


def main() -> None:
    """Read the options, gather, answer."""
    module = AnsibleModule(
        argument_spec={
            **fabric_facts.OPTIONS,
            "timeout": {"type": "float", "default": fabric_facts.TIMEOUT_S},
            "root": {"type": "path", "default": "/"},
        },
        supports_check_mode=True,
    )
    given = module.params
    if given["timeout"] <= 0:
        module.fail_json(msg=f"timeout must be more than 0 seconds, not {given['timeout']}: nothing was read.")
    wish = fabric_facts.Wish(
        given["peers"], given["names"], given["paths"], given["timeout"], addresses=given["addresses"]
    )
    facts, warning = fabric_facts.read(wish, given["root"], given["devices_root"])
    if warning:
        module.warn(warning)
    module.exit_json(changed=False, ansible_facts={"trainmesh_facts_fabric": facts})


if __name__ == "__main__":
    main()

# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What shells and the C library say in other languages, in English.

OpenSSH, NCCL, PyTorch and the kernel speak English everywhere; bash does not, nor the texts of errno behind it. Only
what tells why a job ended is here. Sources: the translations of bash 5.2 (po/*.po) and of glibc 2.36.
"""

from __future__ import annotations

import re
import typing as t

# German, French, Spanish, Italian, Portuguese, Russian, Polish, Japanese, Korean, Chinese (both)
_WORDS: t.Mapping[str, tuple[str, ...]] = {
    "command not found": (
        *("Kommando nicht gefunden.", "Kommando nicht gefunden", "Befehl nicht gefunden", "commande introuvable"),
        *("orden no encontrada", "no se encontró la orden", "comando non trovato", "comando não encontrado"),
        *("команда не найдена", "nie znaleziono polecenia", "コマンドが見つかりません", "명령어를 찾을 수 없음"),
        *("명령을 찾을 수 없습니다", "未找到命令", "找不到命令", "指令找不到", "命令不存在"),
    ),
    "Permission denied": (
        *("Keine Berechtigung", "Permission non accordée", "Permiso denegado", "Permesso negato", "Permissão negada"),
        *("Отказано в доступе", "Brak dostępu", "許可がありません", "허가 거부", "权限不够", "拒絕不符權限的操作"),
    ),
    "No such file or directory": (
        *("Datei oder Verzeichnis nicht gefunden", "Aucun fichier ou dossier de ce nom"),
        "Aucun fichier ou dossier de ce type",
        *("No existe el archivo o el directorio", "No existe el fichero o el directorio"),
        "File o directory non esistente",
        *("Arquivo ou diretório inexistente", "Ficheiro ou pasta inexistente", "Нет такого файла или каталога"),
        *("Nie ma takiego pliku ani katalogu", "そのようなファイルやディレクトリはありません"),
        *("그런 파일이나 디렉터리가 없습니다", "没有那个文件或目录", "沒有此一檔案或目錄"),
    ),
    "No space left on device": (
        *("Auf dem Gerät ist kein Speicherplatz mehr verfügbar", "Aucun espace disponible sur le périphérique"),
        *("No queda espacio en el dispositivo", "Spazio esaurito sul device"),
        "Não há espaço disponível no dispositivo",
        *("На устройстве не осталось свободного места", "Brak miejsca na urządzeniu"),
        *("デバイスに空き領域がありません", "장치에 남은 공간이 없음", "设备上没有空间", "裝置上已無多餘空間"),
    ),
    "Killed": (
        *("Getötet", "Processus arrêté", "Terminado (killed)", "Matado", "Ucciso", "Morto", "Убито", "Unicestwiony"),
        *("強制終了", "죽었음", "已杀死", "已殺死"),
    ),
    "Segmentation fault": (
        *("Speicherzugriffsfehler", "Erreur de segmentation", "Violación de segmento", "Errore di segmentazione"),
        *("Falha de segmentação", "Ошибка сегментирования", "Naruszenie ochrony pamięci"),
        *("セグメンテーション違反です", "Segmentation fault です", "세그멘테이션 오류"),
        *("段错误", "段錯誤", "程式記憶體區段錯誤"),
    ),
    "Bus error": (
        *("Bus-Zugriffsfehler", "Busfehler", "Erreur de bus", "Error en el bus", "Errore di bus", "Erro de barramento"),
        *("Ошибка шины", "Błąd szyny", "バスエラー", "버스 오류", "总线错误", "匯流排錯誤"),
    ),
    "Illegal instruction": (
        *("Ungültiger Maschinenbefehl", "Instruction non permise", "Instrucción ilegal", "Istruzione non consentita"),
        *("Недопустимая операция", "不正な命令です", "잘못된 명령어", "非法指令", "不合法的命令"),
    ),
    "(core dumped)": (
        *("(Speicherabzug geschrieben)", "(core dumped)", "(`core' generado)", "(core dump creato)"),
        "(стек памяти сброшен на диск)",
        *("(zrzut pamięci)", "(imagem do núcleo gravada)", "(コアダンプ)", "(코어 덤프됨)"),
        *("(核心已转储)", "（核心已转储）"),
        *("(已转储核心)", "（吐核）", "(吐核)", "(核心已傾印)"),
    ),
    "Cannot allocate memory": (
        *("Nicht genügend Hauptspeicher verfügbar", "Impossible d'allouer de la mémoire", "No se pudo asignar memoria"),
        *("Impossibile allocare memoria", "Não foi possível alocar memória", "Невозможно выделить память"),
        *("メモリを確保できません", "메모리를 할당할 수 없음", "无法分配内存", "無法配置記憶體"),
    ),
    "Resource temporarily unavailable": (
        *("Die Ressource ist zur Zeit nicht verfügbar", "Ressource temporairement non disponible"),
        *("Recurso no disponible temporalmente", "Risorsa temporaneamente non disponibile"),
        *("Recurso temporariamente indisponível", "Ресурс временно недоступен"),
        *("リソースが一時的に利用できません", "자원이 일시적으로 사용 불가능함", "资源暂时不可用", "資源暫時無法取得"),
    ),
}  # fmt: skip
_ENGLISH = {word: english for english, words in _WORDS.items() for word in words}
_ANY = re.compile("|".join(re.escape(word) for word in sorted(_ENGLISH, key=len, reverse=True)))
# "run.sh: Zeile 3: ", "run.sh：行 3：", "run.sh: 第 3 行："
_LINE = re.compile(
    r"\A(?P<script>[^\s:：]{1,200})[:：] ?(?:(?:Zeile|ligne|línea|linea|riga|linha|строка|linia|行|줄) ?(?P<a>\d{1,6})"
    r"|第 ?(?P<b>\d{1,6}) ?行|(?P<c>\d{1,6})[ 번째]{0,4}줄) ?[:：]"
)
_WIDE = str.maketrans({"：": ": ", "（": "(", "）": ")", "\u3000": " "})


def english(text: str) -> str:
    """The text with these words in English, and a shell's place of an error as it writes it in English."""
    if not _ANY.search(text):
        return text
    place = _LINE.match(text)
    if place:
        rest = text[place.end() :]
        text = (
            f"{place['script']}: line {place['a'] or place['b'] or place['c']}:{'' if rest[:1] == ' ' else ' '}{rest}"
        )
    found = _ANY.sub(lambda match: _ENGLISH[match[0]], text.translate(_WIDE))
    return re.sub(r" +:", ":", found.replace(":  ", ": "))  # French has a blank before a colon

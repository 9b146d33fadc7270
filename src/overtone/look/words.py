"""Names that columns and files have in practice, and what each says of its column."""

from __future__ import annotations

import re


def _set(text: str) -> frozenset[str]:
    return frozenset(re.findall(r"\w+", text))


TIME = _set(
    "t time timestamp timestamps date datetime ts sec secs seconds second ms msec millis us usec ns epoch "
    "elapsed unix clock"
)
LABEL = _set("label labels activity activities class classes gesture gestures action exercise target annotation")
MAYBE_LABEL = _set("y gt state status event type motion posture behavior behaviour category movement mode")
GROUP = _set(
    "subject subjects subj sub person people user users participant participants machine patient volunteer "
    "proband player animal who uid pid driver worker group"
)
MAYBE_GROUP = _set("id name device unit s p u")
RECORDING = _set(
    "trial trials session sessions run runs recording recordings record rec recs take rep repetition sequence seq "
    "segment file filename series episode"
)
INDEX = _set("index idx row rows no nr num number unnamed counter frame sample samples count")
KOREAN = {
    "time": ("시간", "시각", "타임스탬프", "일시", "날짜", "초"),
    "label": ("라벨", "레이블", "활동", "동작", "클래스", "행동", "분류", "자세", "정답"),
    "group": ("대상자", "피험자", "참가자", "사용자", "사람", "환자", "기계", "장비", "설비", "작업자", "그룹", "이름"),
    "recording": ("시행", "시도", "세션", "회차", "파일", "녹화", "기록", "실험", "시퀀스"),
    "index": ("번호", "순번", "인덱스", "행"),
}
ENGLISH = {
    "time": (TIME, frozenset[str]()),
    "label": (LABEL, MAYBE_LABEL),
    "group": (GROUP, MAYBE_GROUP),
    "recording": (RECORDING, frozenset[str]()),
    "index": (INDEX, frozenset[str]()),
}


def words(name: str) -> list[str]:
    """A name's words in small letters: ``SubjectID`` and ``subject_id`` are subject, id; digits are left out."""
    parted = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", name)
    return [word.lower() for word in re.findall(r"[^\W\d_]+", parted)]


def speaks(name: str, role: str) -> int:
    """How clearly a name says that its column has a role: 2 clearly, 1 perhaps, 0 not."""
    said = set(words(name))
    sure, maybe = ENGLISH[role]
    if said & sure or any(word in name for word in KOREAN[role] if len(word) > 1) or name.strip() in KOREAN[role]:
        return 2
    return 1 if said & maybe else 0

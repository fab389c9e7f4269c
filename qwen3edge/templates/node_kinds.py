"""The nodes of a syntax tree."""

from __future__ import annotations

from enum import IntEnum


class Kind(IntEnum):
    """Of a node; the numbers stand in files."""

    ABSENT = 0
    TEXT = 1
    PRINT = 2
    CHOICE = 3
    LOOP = 5
    SET = 6
    SET_BLOCK = 7
    MACRO = 8
    SCOPE = 10
    LEAVE = 11
    AGAIN = 12
    TO_NAME = 16
    TO_ATTRIBUTE = 17
    TO_SEVERAL = 18
    NONE = 32
    TRUE = 33
    FALSE = 34
    INTEGER = 35
    REAL = 36
    STRING = 37
    NAME = 38
    LIST = 39
    TUPLE = 40
    DICT = 41
    CONDITION = 42
    MISSING = 43
    FILTER = 44
    TEST = 45
    CALL = 46
    ATTRIBUTE = 48
    ITEM = 49
    SLICE = 50
    CONCATENATION = 51
    COMPARISON = 52
    BOTH = 54
    EITHER = 55
    NEGATION = 56
    MINUS = 57
    PLUS = 58
    ARITHMETIC = 59
    CAPTURED = 60
    MAP_FILTER = 61
    CHOOSE = 62

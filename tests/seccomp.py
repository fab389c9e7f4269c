"""python seccomp.py ACTION NUMBER,... COMMAND...: runs a command to which the kernel answers these system calls so.

ACTION: "trap", as Android's filter for apps (SIGSYS), or an error's number, as Docker and gVisor (EPERM, ENOSYS). Linux
on x86-64 and 64-bit Arm; no rights are needed.
"""

import ctypes
import os
import struct
import sys

ALLOW, TRAP, ERRNO = 0x7FFF0000, 0x00030000, 0x00050000
NO_NEW_PRIVILEGES, SECCOMP, FILTER = 38, 22, 2  # of prctl
LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06  # of the filter's instructions


def install(action: str, numbers: list[int]) -> None:
    """For this process and all that it starts. Raises OSError."""
    answer = TRAP if action == "trap" else ERRNO | int(action)
    program = [(LOAD, 0, 0, 0)]  # the call's number
    for number in numbers:
        program += [(EQUAL, 0, 1, number), (RETURN, 0, 0, answer)]
    program.append((RETURN, 0, 0, ALLOW))
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *each) for each in program))
    header = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(program), ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0) or libc.prctl(SECCOMP, FILTER, ctypes.byref(header), 0, 0):
        raise OSError(ctypes.get_errno(), "seccomp")


if __name__ == "__main__":
    install(sys.argv[1], [int(number) for number in sys.argv[2].split(",")])
    os.execvp(sys.argv[3], sys.argv[3:])

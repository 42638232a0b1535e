#include "quic/steer.h"

#include <errno.h>
#include <linux/filter.h>
#include <sys/socket.h>

enum {
    LONG_HEADER = 0x80,
    TYPE_MASK = 0x30,
    TYPE_HANDSHAKE = 0x20, /* of version 1; other versions number the types otherwise */
    VERSION_1 = 1,
    /* Byte 0 holds the flags; a long header goes on with 4 bytes of version and the length of the
     * connection id. */
    VERSION_AT = 1,
    ID_LEN_AT = 5,
    LONG_ID_AT = 6,
    SHORT_ID_AT = 1,
    SHORTEST = 7,              /* all that is read here; no QUIC packet is as short as this */
    PROXY_HEADER = 0x0d0a0d0a, /* the first bytes of one of version 2; no QUIC packet has them */
};
/* No socket has this number, so the kernel uses its hash (reuseport_select_sock()). */
#define BY_HASH 0xffffffffu

/* Lines of the program that others jump to, and how many to skip on the way there. */
enum { LONG = 8, CHOOSE = 15, HASH = 17 };
#define FROM(line, to) ((to) - (line) - 1)

int sl_quic_steer(int fd, unsigned n_workers)
{
    /* The program sees the payload of the datagram from 0. A load beyond its end would return 0,
     * which is a worker: hence the look at the length. */
    struct sock_filter program[] = {
        /*  0 */ BPF_STMT(BPF_LD | BPF_W | BPF_LEN, 0),
        /*  1 */ BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, SHORTEST, 0, FROM(1, HASH)),
        /*  2 */ BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
        /*  3 */ BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, PROXY_HEADER, FROM(3, HASH), 0),
        /*  4 */ BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 0),
        /*  5 */ BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, LONG_HEADER, FROM(5, LONG), 0),
        /*  6 */ BPF_STMT(BPF_LD | BPF_B | BPF_ABS, SHORT_ID_AT),
        /*  7 */ BPF_STMT(BPF_JMP | BPF_JA, FROM(7, CHOOSE)),
        /*  8 */ BPF_STMT(BPF_ALU | BPF_AND | BPF_K, TYPE_MASK),
        /*  9 */ BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, TYPE_HANDSHAKE, 0, FROM(9, HASH)),
        /* 10 */ BPF_STMT(BPF_LD | BPF_W | BPF_ABS, VERSION_AT),
        /* 11 */ BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, VERSION_1, 0, FROM(11, HASH)),
        /* 12 */ BPF_STMT(BPF_LD | BPF_B | BPF_ABS, ID_LEN_AT),
        /* 13 */ BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, FROM(13, HASH), 0),
        /* 14 */ BPF_STMT(BPF_LD | BPF_B | BPF_ABS, LONG_ID_AT),
        /* 15 */ BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, n_workers, FROM(15, HASH), 0),
        /* 16 */ BPF_STMT(BPF_RET | BPF_A, 0),
        /* 17 */ BPF_STMT(BPF_RET | BPF_K, BY_HASH),
    };
    struct sock_fprog prog = {.len = SL_COUNT(program), .filter = program};

    sl_assert(n_workers > 0 && n_workers <= SL_QUIC_WORKERS_MAX);
    if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &prog, sizeof(prog)) < 0)
        return sl_error_from_errno(errno);
    return 0;
}

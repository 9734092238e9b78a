/* Faults by mprotect and SIGSEGV, where the kernel refuses every userfaultfd. No decisions.
 *
 * Nobody can change another process's protection (trap "own mapping only"), so a native thread of
 * the client, the helper, does what its agent commands. Two seqpacket sockets: faults go out and
 * commands come in on the *line*; acknowledgements go out on a second one, whose agent's end is the
 * first message on the line, so that the agent can wait for one without putting faults aside.
 *
 * A page that is not in the cache of the host is never accessible here, or a touch would make it
 * zeros for all; so a hole is punched only when all clients have acknowledged that they hide it.
 */
#ifndef DSM_SYS_SEGV_H
#define DSM_SYS_SEGV_H
#include "sys/uffd.h"
#include <stdbool.h>
#include <stdint.h>

enum { DSM_SEGV = 3 }; /* beside DSM_UFFD_* */

enum dsm_segv_op {
    DSM_SEGV_MAP_READ = 1,
    DSM_SEGV_MAP_WRITE = 2,
    DSM_SEGV_PROTECT = 3, /* acknowledged: no store is under way */
    DSM_SEGV_HIDE = 4,    /* acknowledged: nor a load; parked threads fault again */
    DSM_SEGV_POISON = 5,  /* a touch is SIGBUS */
    DSM_SEGV_REST = 6,    /* acknowledged: it has nothing any more, and stops */
    DSM_SEGV_GO = 7,      /* all parked threads fault again */
};

/* What comes in the place of a fault from a process that Ctrl-Z stops. While it stands still nobody
 * obeys: so it gives up all pages first, and is asked for none until it goes on. */
enum dsm_segv_said { DSM_SEGV_STOPS = 2, DSM_SEGV_GOES_ON = 3 };

struct dsm_segv_command {
    uint32_t op, unused;
    uint64_t number; /* what an acknowledgement repeats */
    uint64_t address, bytes;
};

/* The agent's half: nothing blocks but dsm_segv_settle. */

/* The descriptor of acknowledgements that came as the first message, or -errno. */
int dsm_segv_accept(int line);
/* As dsm_uffd_read; -ECONNRESET at the end. Without an address: `said` is an enum dsm_segv_said. */
int dsm_segv_read(int line, struct dsm_fault *faults, int room);
/* 0, -EAGAIN (the client does not read) or -EPIPE (it is gone). */
int dsm_segv_command(int line, const struct dsm_segv_command *command);
/* Until this number is acknowledged: 0, -ETIMEDOUT, or -ECONNRESET. `until`: ms, monotonic. */
int dsm_segv_settle(int acks, uint64_t number, uint64_t until);
uint64_t dsm_segv_now(void);

#endif

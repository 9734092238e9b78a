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
};

struct dsm_segv_command {
    uint32_t op, unused;
    uint64_t number; /* what an acknowledgement repeats */
    uint64_t address, bytes;
};

/* ---- client: client/segv.c. One line a process; any thread may call. ---- */
/* The agent's end of a new line, or -errno. It is kept open here too: a fault then waits when the
 * agent is gone, until our lifeline ends us. */
int dsm_segv_open(void);
/* Is this that descriptor? */
bool dsm_segv_is(int fd);
/* End of the line: what is still mapped is ordinary memory from here on. In a forked child: forget
 * the parent's line, the regions are no part of the child. */
void dsm_segv_close(void);
/* Faults in this range are ours; it becomes inaccessible. 0 or -errno. */
int dsm_segv_register(void *address, uint64_t bytes);
/* Before unmapping: no command changes it any more. */
void dsm_segv_leave(uint64_t address);
/* And then: it is gone, or (a view lives) it stays and its pages are asked for again. */
void dsm_segv_left(uint64_t address, bool gone);
/* Somebody else (faulthandler) took the signal: take it back, and chain to them. With `removed`,
 * who took it last has given it back and is not chained to any more. */
void dsm_segv_arm(bool removed);

/* ---- agent: segvagent.c. Nothing blocks but dsm_segv_settle. ---- */
/* The descriptor of acknowledgements that came as the first message, or -errno. */
int dsm_segv_accept(int line);
/* As dsm_uffd_read; -ECONNRESET at the end. */
int dsm_segv_read(int line, struct dsm_fault *faults, int room);
/* 0, -EAGAIN (the client does not read) or -EPIPE (it is gone). */
int dsm_segv_command(int line, const struct dsm_segv_command *command);
/* Until this number is acknowledged: 0, -ETIMEDOUT, or -ECONNRESET. `until`: ms, monotonic. */
int dsm_segv_settle(int acks, uint64_t number, uint64_t until);
uint64_t dsm_segv_now(void);

#endif

/* The client's half of faults by mprotect and SIGSEGV (sys/segv.h). One line a process; any thread
 * may call.
 */
#ifndef DSM_CLIENT_SEGV_H
#define DSM_CLIENT_SEGV_H
#include "sys/segv.h"

/* The agent's end of the line, which is opened if there is none, or -errno. It is kept open here
 * too: a fault then waits when the agent is gone, until our lifeline ends us. */
int dsm_segv_open(void);
/* Is this that descriptor? */
bool dsm_segv_is(int fd);
/* End of the line: what is still mapped is ordinary memory from here on. In a forked child: forget
 * the parent's line, the regions are no part of the child. */
void dsm_segv_close(void);
/* Faults in this range are ours; it becomes inaccessible. 0 or -errno. */
int dsm_segv_register(void *address, uint64_t bytes);
/* Unmap it, watched or not: no command changes what is mapped there from then on. */
void dsm_segv_unmap(void *address, uint64_t bytes);
/* Somebody else (faulthandler) took the signal: take it back, and chain to them. With `removed`,
 * who took it last has given it back and is not chained to any more. */
void dsm_segv_arm(bool removed);

#endif

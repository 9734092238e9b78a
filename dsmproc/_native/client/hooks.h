/* System calls on shared memory in a process whose faults in the kernel nobody serves: they work as
 * far as they are those of hooks.c, whoever makes them.
 */
#ifndef DSM_CLIENT_HOOKS_H
#define DSM_CLIENT_HOOKS_H
#include <stdint.h>

/* This is shared memory, until it is told away, which is before it is unmapped. 0 or -errno. */
int dsm_hooks_cover(const void *start, uint64_t bytes);
void dsm_hooks_uncover(const void *start);

#endif

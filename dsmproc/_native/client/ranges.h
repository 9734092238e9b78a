/* Where this process has shared memory: asked before every system call that is given memory, so
 * from any thread, in signal handlers and between vfork and exec.
 */
#ifndef DSM_CLIENT_RANGES_H
#define DSM_CLIENT_RANGES_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* 0 or -ENOSPC. A forked child has none. */
int dsm_ranges_add(const void *start, uint64_t bytes);
/* Before it is unmapped; one that was not added is none. */
void dsm_ranges_remove(const void *start);
/* Whether any of these bytes is shared memory. */
bool dsm_ranges_touch(const void *start, size_t bytes);

#endif

/* Memory: regions (a memfd with one writable mapping that is never registered or given away), and
 * address space that costs nothing until it is touched.
 */
#ifndef DSM_SYS_MEMORY_H
#define DSM_SYS_MEMORY_H
#include <stdint.h>

struct dsm_memory {
    int fd;
    uint8_t *base;
    uint64_t bytes;
};

/* A memfd of exactly `bytes`, sealed against resizing, and the agent's own mapping of it (not
 * inherited by fork, in no core dump). 0 or -errno. */
int dsm_memory_make(struct dsm_memory *memory, const char *name, uint64_t bytes);
void dsm_memory_free(struct dsm_memory *memory);
/* Out of the page cache and out of every process that maps it. */
int dsm_memory_punch(const struct dsm_memory *memory, uint64_t offset, uint64_t bytes);
/* Into the page cache: what was not there is zero, what was stays. */
int dsm_memory_ensure(const struct dsm_memory *memory, uint64_t offset, uint64_t bytes);

/* Into the page cache with this content: whole pages, of which none is there. By a system call, so
 * that each page is neither zeroed first nor costs a fault of our own mapping. */
int dsm_memory_fill(const struct dsm_memory *memory, uint64_t offset, const uint8_t *from,
                    uint64_t bytes);

/* Private zeroed address space without reserve: `*bytes`, or less (halved until the system agrees,
 * not under `least`). NULL if refused. */
void *dsm_memory_reserve(uint64_t *bytes, uint64_t least);
void dsm_memory_release(void *base, uint64_t bytes);

#endif

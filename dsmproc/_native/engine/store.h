/* Twins and kept diffs: buffers keyed by page. */
#ifndef DSM_ENGINE_STORE_H
#define DSM_ENGINE_STORE_H
#include "engine/table.h"
#include "sys/buffer.h"
#include <stdbool.h>

struct dsm_store {
    uint32_t page_size;
    struct dsm_table twins; /* page -> buffer of one page */
    struct dsm_table diffs; /* page -> malloc'd struct kept */
    uint8_t **chunks;       /* the twins' memory, given back at the end */
    uint32_t nchunks, room;
    uint8_t *free;    /* free twins, linked through their first bytes */
    uint8_t *spare;   /* a page: where a comparison leaves what it read */
    uint8_t *zeros;   /* a page of them */
    uint8_t *scratch; /* room for the longest diff */
};

int dsm_store_open(struct dsm_store *store, uint32_t page_size);
void dsm_store_close(struct dsm_store *store);
/* Keep a copy of the page (replacing one that is there). */
int dsm_store_twin(struct dsm_store *store, uint64_t id, const uint8_t *page);
void dsm_store_untwin(struct dsm_store *store, uint64_t id);
/* Compare with the twin (none: zeros) and keep the diff. What was read becomes the new twin if
 * `refresh`. Stores the diff's length (0: equal, nothing is kept). */
int dsm_store_compare(struct dsm_store *store, uint64_t id, const uint8_t *page, bool refresh,
                      uint32_t *len);
/* The twin (none: zeros). */
const uint8_t *dsm_store_twin_of(const struct dsm_store *store, uint64_t id);
/* Does the page differ from its twin? Nothing is kept. */
bool dsm_store_differs(const struct dsm_store *store, uint64_t id, const uint8_t *page);
/* Apply a sound diff to the twin, if there is one. */
void dsm_store_apply(struct dsm_store *store, uint64_t id, const uint8_t *diff, uint32_t len);
/* `bytes` replace the page; if it is dirty, its bytes that differ from the twin stay. The twin is
 * forgotten. */
void dsm_store_merge(struct dsm_store *store, uint64_t id, uint8_t *page, const uint8_t *bytes,
                     bool dirty);
/* The kept diff; NULL if there is none. */
const uint8_t *dsm_store_kept(const struct dsm_store *store, uint64_t id);
/* Append the kept diff. -ENOENT if there is none. */
int dsm_store_diff(struct dsm_store *store, uint64_t id, struct dsm_buffer *to);
void dsm_store_undiff(struct dsm_store *store, uint64_t id);
/* Forget everything about pages first..first+count-1. */
void dsm_store_forget(struct dsm_store *store, uint64_t first, uint64_t count);

#endif

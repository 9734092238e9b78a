/* Memory for the core: one caller-given block, addressed by references instead of pointers.
 *
 * A reference counts 16-byte units from the block's start (0 = none), so the block may be copied,
 * hashed and moved. Freed pieces go to lists by power of two; nothing is ever given back whole.
 */
#ifndef DSM_CORE_ARENA_H
#define DSM_CORE_ARENA_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint32_t dsm_ref;

enum { DSM_ARENA_UNIT = 16, DSM_ARENA_CLASSES = 28, DSM_ARENA_RESERVE = 48 << 10 };

struct dsm_arena { /* first member of struct dsm_host and struct dsm_master */
    uint64_t bytes, used;
    dsm_ref free[DSM_ARENA_CLASSES];
};

void dsm_arena_init(struct dsm_arena *arena, uint64_t bytes, uint64_t head);
/* Zeroed memory for `bytes`; the arena must have room (dsm_arena_room was asked before). */
dsm_ref dsm_arena_take(struct dsm_arena *arena, uint64_t bytes);
void dsm_arena_give(struct dsm_arena *arena, dsm_ref ref, uint64_t bytes);
/* Is there room for one step that may take `bytes` beside its ordinary needs? */
bool dsm_arena_room(const struct dsm_arena *arena, uint64_t bytes);

static inline void *dsm_at(const void *base, dsm_ref ref) {
    return (uint8_t *)(uintptr_t)base + (uint64_t)ref * DSM_ARENA_UNIT;
}

static inline dsm_ref dsm_ref_of(const void *base, const void *pointer) {
    return (dsm_ref)((uint64_t)((const uint8_t *)pointer - (const uint8_t *)base) / DSM_ARENA_UNIT);
}

/* A hash map from 64-bit keys (never 0) to references, kept in the arena. */
struct dsm_map {
    dsm_ref slots;
    uint32_t room, count;
};

dsm_ref dsm_map_get(const struct dsm_arena *arena, const struct dsm_map *map, uint64_t key);
void dsm_map_put(struct dsm_arena *arena, struct dsm_map *map, uint64_t key, dsm_ref value);
dsm_ref dsm_map_drop(struct dsm_arena *arena, struct dsm_map *map, uint64_t key);
/* The value in slot `at` (0 .. map->room - 1), 0 if empty: for walks. */
dsm_ref dsm_map_slot(const struct dsm_arena *arena, const struct dsm_map *map, uint32_t at);

/* A queue of arena records whose first member is the link. */
struct dsm_queue {
    dsm_ref head, tail;
};

void dsm_queue_push(void *base, struct dsm_queue *queue, dsm_ref record);
dsm_ref dsm_queue_pop(void *base, struct dsm_queue *queue);
bool dsm_queue_remove(void *base, struct dsm_queue *queue, dsm_ref record);

static inline dsm_ref dsm_next(const void *base, dsm_ref record) {
    return *(dsm_ref *)dsm_at(base, record);
}

#endif

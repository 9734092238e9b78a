#include "core/arena.h"

#include <assert.h>
#include <string.h>

void dsm_arena_init(struct dsm_arena *arena, uint64_t bytes, uint64_t head) {
    uint64_t unit = DSM_ARENA_UNIT;
    arena->bytes = bytes;
    arena->used = (head + unit - 1) / unit * unit;
}

static uint32_t class_of(uint64_t bytes) {
    uint32_t class = 0;
    while (((uint64_t)DSM_ARENA_UNIT << class) < bytes)
        class ++;
    assert(class < DSM_ARENA_CLASSES);
    return class;
}

bool dsm_arena_room(const struct dsm_arena *arena, uint64_t bytes) {
    uint64_t left = arena->bytes - arena->used;
    return bytes < arena->bytes && left > DSM_ARENA_RESERVE && left - DSM_ARENA_RESERVE > 2 * bytes;
}

dsm_ref dsm_arena_take(struct dsm_arena *arena, uint64_t bytes) {
    uint32_t class = class_of(bytes);
    dsm_ref ref = arena->free[class];
    if (ref) {
        arena->free[class] = dsm_next(arena, ref);
    } else {
        uint64_t size = (uint64_t)DSM_ARENA_UNIT << class;
        assert(arena->used + size <= arena->bytes);
        ref = (dsm_ref)(arena->used / DSM_ARENA_UNIT);
        arena->used += size;
    }
    memset(dsm_at(arena, ref), 0, (size_t)bytes);
    return ref;
}

void dsm_arena_give(struct dsm_arena *arena, dsm_ref ref, uint64_t bytes) {
    uint32_t class = class_of(bytes);
    *(dsm_ref *)dsm_at(arena, ref) = arena->free[class];
    arena->free[class] = ref;
}

/* ---- map: open addressing, linear probing, backward-shift deletion ----------------------- */

struct slot {
    uint64_t key;
    dsm_ref value;
    uint32_t unused;
};

static uint32_t spread(uint64_t key) {
    key ^= key >> 33;
    key *= 0xff51afd7ed558ccdULL;
    key ^= key >> 33;
    return (uint32_t)key;
}

static struct slot *slots_of(const struct dsm_arena *arena, const struct dsm_map *map) {
    return dsm_at(arena, map->slots);
}

/* The slot that holds key, or the empty one where it would go. The map has room. */
static uint32_t find(const struct dsm_arena *arena, const struct dsm_map *map, uint64_t key) {
    const struct slot *slots = slots_of(arena, map);
    uint32_t mask = map->room - 1, at = spread(key) & mask;
    while (slots[at].key && slots[at].key != key)
        at = (at + 1) & mask;
    return at;
}

dsm_ref dsm_map_get(const struct dsm_arena *arena, const struct dsm_map *map, uint64_t key) {
    if (!map->room || !key) return 0;
    return slots_of(arena, map)[find(arena, map, key)].value;
}

static void grow(struct dsm_arena *arena, struct dsm_map *map) {
    struct dsm_map old = *map;
    map->room = old.room ? old.room * 2 : 16;
    map->slots = dsm_arena_take(arena, map->room * sizeof(struct slot));
    for (uint32_t at = 0; at < old.room; at++) {
        struct slot slot = slots_of(arena, &old)[at];
        if (slot.key) slots_of(arena, map)[find(arena, map, slot.key)] = slot;
    }
    if (old.room) dsm_arena_give(arena, old.slots, old.room * sizeof(struct slot));
}

void dsm_map_put(struct dsm_arena *arena, struct dsm_map *map, uint64_t key, dsm_ref value) {
    assert(key && value);
    if ((map->count + 1) * 4 > map->room * 3) grow(arena, map);
    struct slot *slot = &slots_of(arena, map)[find(arena, map, key)];
    if (!slot->key) map->count++;
    slot->key = key;
    slot->value = value;
}

dsm_ref dsm_map_drop(struct dsm_arena *arena, struct dsm_map *map, uint64_t key) {
    if (!map->room || !key) return 0;
    struct slot *slots = slots_of(arena, map);
    uint32_t mask = map->room - 1, hole = find(arena, map, key);
    dsm_ref value = slots[hole].value;
    if (!slots[hole].key) return 0;
    for (uint32_t at = (hole + 1) & mask; slots[at].key; at = (at + 1) & mask) {
        uint32_t wanted = spread(slots[at].key) & mask;
        if (((at - wanted) & mask) >= ((at - hole) & mask)) {
            slots[hole] = slots[at];
            hole = at;
        }
    }
    slots[hole] = (struct slot){0};
    map->count--;
    return value;
}

dsm_ref dsm_map_slot(const struct dsm_arena *arena, const struct dsm_map *map, uint32_t at) {
    return slots_of(arena, map)[at].value;
}

/* ---- queue ------------------------------------------------------------------------------- */

static void set_next(void *base, dsm_ref record, dsm_ref next) {
    *(dsm_ref *)dsm_at(base, record) = next;
}

void dsm_queue_push(void *base, struct dsm_queue *queue, dsm_ref record) {
    set_next(base, record, 0);
    if (queue->tail)
        set_next(base, queue->tail, record);
    else
        queue->head = record;
    queue->tail = record;
}

dsm_ref dsm_queue_pop(void *base, struct dsm_queue *queue) {
    dsm_ref record = queue->head;
    if (!record) return 0;
    queue->head = dsm_next(base, record);
    if (!queue->head) queue->tail = 0;
    return record;
}

bool dsm_queue_remove(void *base, struct dsm_queue *queue, dsm_ref record) {
    dsm_ref before = 0;
    for (dsm_ref at = queue->head; at; before = at, at = dsm_next(base, at)) {
        if (at != record) continue;
        if (before)
            set_next(base, before, dsm_next(base, at));
        else
            queue->head = dsm_next(base, at);
        if (queue->tail == at) queue->tail = before;
        return true;
    }
    return false;
}

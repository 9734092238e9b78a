/* Feeding a node of the core with events made of arbitrary bytes.
 *
 * An input is a row of events: kind u8, host u8 (255: the master), client u8, id u64, arg u64,
 * length u16, then so many bytes (fewer at the end of the input). Messages may hold anything; what
 * the engine itself says is kept sensible: requests have numbers of their own, and the results of
 * COMPARE and WORD come when the core asks for them.
 *
 * After every step: a refused event has left every byte of the state as it was, the actions stay
 * within the message and the regions, and nothing was asserted or overrun.
 */
#ifndef DSM_FUZZ_DRIVE_H
#define DSM_FUZZ_DRIVE_H
#include <assert.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/core.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ARENA = 1 << 20, MAX_ACTIONS = 1 << 14, MAX_BYTES = 1 << 20, PAGE = 16, EVENTS = 400 };

struct drive {
    void *arena, *before;
    void *node;
    struct dsm_out out;
    uint64_t used_req;
    struct {
        uint64_t id, pages; /* 0: the entry is free */
    } regions[EVENTS];
    const uint8_t *at, *end;
};

static inline uint64_t take(struct drive *drive, uint32_t bytes) {
    uint64_t value = 0;
    for (uint32_t i = 0; i < bytes && drive->at < drive->end; i++)
        value |= (uint64_t)*drive->at++ << (8 * i);
    return value;
}

static inline bool drive_next(struct drive *drive, struct dsm_event *event) {
    if (drive->at >= drive->end) return false;
    *event = (struct dsm_event){.kind = (uint32_t)take(drive, 1)};
    event->host = (uint32_t)take(drive, 1);
    if (event->host == 255) event->host = DSM_MASTER;
    event->client = (uint32_t)take(drive, 1) % 4;
    event->id = take(drive, 8);
    event->arg = take(drive, 8);
    uint64_t len = take(drive, 2), left = (uint64_t)(drive->end - drive->at);
    event->len = (uint32_t)(len < left ? len : left);
    event->bytes = drive->at;
    drive->at += event->len;
    return true;
}

static inline uint64_t arena_used(const void *arena) {
    uint64_t used;
    memcpy(&used, (const uint8_t *)arena + 8, sizeof used);
    return used;
}

typedef int step_function(struct drive *drive, const struct dsm_event *event);

/* One step, with the event's bytes in a block of exactly their size. */
static inline int drive_step(struct drive *drive, struct dsm_event event, step_function *step) {
    uint64_t used = arena_used(drive->arena);
    memcpy(drive->before, drive->arena, used);
    uint8_t *bytes = malloc(event.len ? event.len : 1);
    if (event.len) memcpy(bytes, event.bytes, event.len);
    event.bytes = bytes;
    int status = step(drive, &event);
    free(bytes);
    if (status != DSM_OK) assert(!memcmp(drive->before, drive->arena, used));
    return status;
}

static inline void drive_init(struct drive *drive, const uint8_t *data, size_t size) {
    static void *arena, *before, *actions, *bytes; /* the fuzzer's process has one node at a time */
    if (!arena) {
        arena = aligned_alloc(16, ARENA);
        before = malloc(ARENA);
        actions = malloc(MAX_ACTIONS * sizeof(struct dsm_action));
        bytes = malloc(MAX_BYTES);
    }
    *drive = (struct drive){.arena = arena, .before = before, .at = data, .end = data + size};
    memset(arena, 0, ARENA);
    drive->out = (struct dsm_out){
        .actions = actions, .bytes = bytes, .max_actions = MAX_ACTIONS, .max_bytes = MAX_BYTES};
}

static inline struct dsm_config drive_config(uint32_t host) {
    return (struct dsm_config){.host = host,
                               .page_size = PAGE,
                               .run = 4,
                               .most = 8,
                               .ahead = 16,
                               .hot = 1,
                               .grants = 1,
                               .carry = 12};
}

#endif

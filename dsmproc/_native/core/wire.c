#include "core/wire.h"

#include <assert.h>

#include "core/core.h"

static uint64_t get(struct dsm_cursor *cursor, uint32_t bytes) {
    uint64_t value = 0;
    if (cursor->bad || (uint64_t)(cursor->end - cursor->at) < bytes) {
        cursor->bad = true;
        return 0;
    }
    for (uint32_t i = 0; i < bytes; i++)
        value |= (uint64_t)cursor->at[i] << (8 * i);
    cursor->at += bytes;
    return value;
}

uint8_t dsm_get8(struct dsm_cursor *cursor) {
    return (uint8_t)get(cursor, 1);
}
uint16_t dsm_get16(struct dsm_cursor *cursor) {
    return (uint16_t)get(cursor, 2);
}
uint32_t dsm_get32(struct dsm_cursor *cursor) {
    return (uint32_t)get(cursor, 4);
}
uint64_t dsm_get64(struct dsm_cursor *cursor) {
    return get(cursor, 8);
}

bool dsm_cursor_done(const struct dsm_cursor *cursor) {
    return !cursor->bad && cursor->at == cursor->end;
}

static void put(struct dsm_out *out, uint64_t value, uint32_t bytes) {
    assert(out->nbytes + bytes <= out->max_bytes);
    for (uint32_t i = 0; i < bytes; i++)
        out->bytes[out->nbytes++] = (uint8_t)(value >> (8 * i));
}

void dsm_put8(struct dsm_out *out, uint32_t value) {
    put(out, value, 1);
}
void dsm_put16(struct dsm_out *out, uint32_t value) {
    put(out, value, 2);
}
void dsm_put32(struct dsm_out *out, uint32_t value) {
    put(out, value, 4);
}
void dsm_put64(struct dsm_out *out, uint64_t value) {
    put(out, value, 8);
}

void dsm_patch16(struct dsm_out *out, uint32_t off, uint32_t value) {
    assert(off + 2 <= out->nbytes && value <= UINT16_MAX);
    out->bytes[off] = (uint8_t)value;
    out->bytes[off + 1] = (uint8_t)(value >> 8);
}

struct dsm_action *dsm_act(struct dsm_out *out, uint32_t kind) {
    assert(out->nactions < out->max_actions);
    struct dsm_action *action = &out->actions[out->nactions++];
    *action = (struct dsm_action){.kind = kind};
    return action;
}

uint32_t dsm_send(struct dsm_out *out, uint32_t host, uint32_t channel, uint32_t type) {
    struct dsm_action *action = dsm_act(out, DSM_ACT_SEND);
    action->host = host;
    action->channel = channel;
    action->off = out->nbytes;
    dsm_put8(out, type);
    return out->nactions - 1;
}

void dsm_sent(struct dsm_out *out, uint32_t index, uint32_t payloads) {
    struct dsm_action *action = &out->actions[index];
    action->len = out->nbytes - action->off;
    action->count = payloads;
}

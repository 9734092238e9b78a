/* Pages: where they are, and how they go into messages and come out of them. */
#include "engine/engine.h"
#include <string.h>

/* The pages that an action names. False (and the engine fails) if there is no such memory. */
bool dsm_pages_find(struct dsmproc_engine *engine, const struct dsm_action *action, uint32_t count,
                    struct dsm_pages *pages) {
    uint64_t index = action->id & UINT32_MAX;
    uint64_t page_size = engine->agent.store.page_size;
    pages->area = dsm_area_find(engine, action->id >> 32);
    if (!pages->area || index + count > pages->area->pages) {
        dsm_engine_fail(engine, "action %u names page %llx, which is not here", action->kind,
                        (unsigned long long)action->id);
        return false;
    }
    pages->offset = index * page_size;
    pages->bytes = count * page_size;
    pages->base = pages->area->memory.base + pages->offset;
    return true;
}

static int append_twins(const struct dsm_store *store, const struct dsm_action *part,
                        struct dsm_buffer *out) {
    int error = 0;
    for (uint32_t i = 0; !error && i < part->count; i++)
        error = dsm_buffer_append(out, dsm_store_twin_of(store, part->id + i), store->page_size);
    return error;
}

/* The payload of a message: diffs, or pages, which are packed where that pays. */
int dsm_pages_pack(struct dsmproc_engine *engine, const struct dsm_action *part, uint32_t count,
                   struct dsm_buffer *out, uint32_t *packed) {
    size_t before = dsm_buffer_len(out);
    uint32_t pages = 0, page_size = engine->agent.store.page_size;
    int error = 0;
    for (const struct dsm_action *end = part + count; !error && part < end; part++) {
        struct dsm_pages found;
        if (part->kind == DSM_ACT_PAYLOAD_DIFF) {
            error = dsm_store_diff(&engine->agent.store, part->id, out);
        } else if (part->kind == DSM_ACT_PAYLOAD_TWINS) {
            error = append_twins(&engine->agent.store, part, out);
            pages += part->count;
        } else if (dsm_pages_find(engine, part, part->count, &found)) {
            error = dsm_buffer_append(out, found.base, found.bytes);
            pages += part->count;
        }
    }
    uint64_t bytes = dsm_buffer_len(out) - before;
    if (error || !pages || bytes != (uint64_t)pages * page_size) return error;
    uint32_t size = dsm_pack(out->data + out->head + before, pages, page_size);
    if (!size) return 0;
    out->tail -= bytes - size;
    *packed = pages;
    return 0;
}

bool dsm_pages_unpack(struct dsmproc_engine *engine, const uint8_t *body, uint32_t len,
                      uint32_t count) {
    struct dsm_buffer *whole = &engine->agent.unpacked;
    uint32_t page_size = engine->agent.store.page_size, packed = 0;
    if (engine->options.role == DSMPROC_AGENT) packed = dsm_packed(body, len, count, page_size);
    if (!packed) return false;
    size_t bytes = (size_t)count * page_size;
    int error = dsm_buffer_append(whole, body, len - packed);
    if (!error) error = dsm_buffer_reserve(whole, bytes);
    if (error) {
        dsm_engine_fail(engine, "no memory for a message: %s", strerror(-error));
        return true;
    }
    dsm_unpack(body, len, count, page_size, whole->data + whole->tail);
    whole->tail += bytes;
    return true;
}

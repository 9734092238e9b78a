/* The memory limit: what the regions and twins take is measured after enough pages came. Above the
 * limit the protocol gives up copies that their homes can send again (core/host/evict.c).
 *
 * Written pages are not among them. So if that is not enough, the host is *relieved*: it publishes
 * early, which is always legal and makes copies of them. Faults are held until that
 * is done, or writers would be faster than it. An eighth of the limit is left for diffs that are
 * on their way and for what comes meanwhile. Where memory is short no homes move here; if
 * homes alone pass the limit, the host is *full*.
 */
#include "engine/engine.h"
#include <string.h>
#include <sys/stat.h>

enum { PARTS = 64, ROUNDS = 64 };

static uint64_t bound(const struct dsmproc_engine *engine) {
    return engine->options.memory / 8 * 7;
}

static uint64_t bytes_used(const struct dsmproc_engine *engine) {
    uint64_t bytes = engine->agent.store.twins.count * engine->agent.store.page_size;
    for (uint64_t i = 0; i < engine->agent.regions.room; i++) {
        if (!engine->agent.regions.entries[i].used) continue;
        const struct dsm_area *area =
            (const struct dsm_area *)(uintptr_t)engine->agent.regions.entries[i].value;
        struct stat stat;
        if (!fstat(area->memory.fd, &stat)) bytes += (uint64_t)stat.st_blocks * 512;
    }
    return bytes;
}

void dsm_limit_measure(struct dsmproc_engine *engine) {
    dsm_engine_set(engine, DSMPROC_STAT_MEMORY, bytes_used(engine));
}

/* Gives up copies; what is used then. */
static uint64_t evict(struct dsmproc_engine *engine) {
    uint64_t most = bound(engine), aim = most - most / (PARTS / 4);
    uint64_t used = bytes_used(engine);
    bool tight = used > most / 4 * 3;
    if (tight != engine->agent.tight && used <= most) {
        const struct dsm_event event = {.kind = DSM_EV_EVICT, .client = tight};
        dsm_execute_step(engine, &event);
    }
    engine->agent.tight = tight;
    for (uint32_t round = 0; round < ROUNDS && used > most && !engine->failed; round++) {
        const struct dsm_event event = {.kind = DSM_EV_EVICT,
                                        .client = 1,
                                        .arg = (used - aim) / engine->agent.store.page_size + 1};
        dsm_execute_step(engine, &event);
        used = bytes_used(engine);
    }
    return used;
}

static void relieve(struct dsmproc_engine *engine) {
    const struct dsm_event event = {.kind = DSM_EV_PUBLISH,
                                    .req = ++engine->agent.last_req << DSM_REQ_INDEX_BITS |
                                           DSM_REQ_NO_CONN};
    engine->agent.relief = event.req;
    dsm_execute_step(engine, &event);
}

static void judge(struct dsmproc_engine *engine, uint64_t used) {
    uint64_t limit = engine->options.memory;
    if (used > limit && !engine->agent.full)
        dsm_engine_log(engine,
                       "the memory limit of %llu bytes is passed: %llu are used, and no copies are "
                       "left to give up",
                       (unsigned long long)limit, (unsigned long long)used);
    engine->agent.full = used > limit;
}

bool dsm_limit_hold(struct dsmproc_engine *engine, const struct dsm_event *fault) {
    if (!engine->agent.relief) return false;
    if (dsm_buffer_append(&engine->agent.held, fault, sizeof *fault))
        dsm_engine_fail(engine, "no memory for a fault");
    return true;
}

bool dsm_limit_let_go(struct dsmproc_engine *engine, struct dsm_event *fault) {
    struct dsm_buffer *held = &engine->agent.held;
    if (!dsm_buffer_len(held) || engine->agent.relief || engine->failed) return false;
    memcpy(fault, held->data + held->head, sizeof *fault);
    dsm_buffer_consume(held, sizeof *fault);
    return true;
}

bool dsm_limit_full(struct dsmproc_engine *engine) {
    if (engine->agent.full) judge(engine, evict(engine)); /* was; regions may have ended since */
    return engine->agent.full;
}

void dsm_limit_keep(struct dsmproc_engine *engine) {
    uint64_t limit = engine->options.memory, page_size = engine->agent.store.page_size;
    if (engine->agent.relieved) {
        engine->agent.relieved = false;
        engine->agent.relief = engine->agent.brought = 0;
        judge(engine, evict(engine));
        return;
    }
    if (!limit || engine->agent.relief || engine->agent.brought * page_size < limit / PARTS) return;
    engine->agent.brought = 0;
    uint64_t used = evict(engine);
    if (used > bound(engine) && engine->agent.summary.busy)
        relieve(engine);
    else
        judge(engine, used);
}

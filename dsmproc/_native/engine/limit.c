/* The memory limit: what regions and twins take is measured after enough pages came. Above the limit
 * the protocol gives up copies that their homes can send again (core/evict.c). What is left then may
 * be dirty: it is published, which may be done at any time, and makes copies of what lives elsewhere.
 */
#include "engine/engine.h"
#include <sys/stat.h>

enum { PARTS = 64, ROUNDS = 64 };

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

bool dsm_limit_full(struct dsmproc_engine *engine) {
    if (engine->agent.full) { /* was; regions may have ended since */
        engine->agent.brought = UINT64_MAX / engine->agent.store.page_size;
        dsm_limit_keep(engine);
    }
    return engine->agent.full;
}

static void relieve(struct dsmproc_engine *engine) {
    struct dsm_agent *agent = &engine->agent;
    if (agent->relief) return; /* its end is waited for */
    agent->relief = ++agent->last_req << DSM_REQ_INDEX_BITS | DSM_REQ_NO_CONN;
    const struct dsm_event event = {.kind = DSM_EV_PUBLISH, .req = agent->relief};
    dsm_agent_step(engine, &event);
}

void dsm_limit_relieved(struct dsmproc_engine *engine) {
    engine->agent.relief = 0;
    engine->agent.relieved = true;
    engine->agent.brought = engine->options.memory; /* measure again */
}

void dsm_limit_keep(struct dsmproc_engine *engine) {
    uint64_t limit = engine->options.memory, page_size = engine->agent.store.page_size;
    if (!limit || engine->agent.brought * page_size < limit / PARTS) return;
    engine->agent.brought = 0;
    uint64_t used = bytes_used(engine);
    for (uint32_t round = 0; round < ROUNDS && used > limit; round++) {
        uint64_t aim = limit - limit / (PARTS / 4);
        const struct dsm_event event = {.kind = DSM_EV_EVICT, .arg = (used - aim) / page_size + 1};
        dsm_agent_step(engine, &event);
        used = bytes_used(engine);
        if (engine->failed) return;
    }
    if (used > limit && !engine->agent.relieved) return relieve(engine);
    engine->agent.relieved = false;
    if (used > limit && !engine->agent.full)
        dsm_engine_log(engine,
                       "the memory limit of %llu bytes is passed: %llu are used, and no copies are "
                       "left to give up",
                       (unsigned long long)limit, (unsigned long long)used);
    engine->agent.full = used > limit;
}

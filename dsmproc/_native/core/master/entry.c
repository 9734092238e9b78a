/* Entry consistency (Midway), as a model: a lock's grant tells of what is bound to that lock only.
 *
 * Everything else is as under lazy release consistency: what a release announces, and what any
 * other acquire (a message, a semaphore, a barrier) tells. So data that is used under a lock to
 * which it is not bound may be read stale; that is the model's price for grants that say little.
 *
 * `told` of the master says up to where a host was told everything; of what is bound to one lock it
 * may have been told more, and must not be told twice (bound.c): the lock has a `told` of its own.
 * A page bound to several locks, or to one that was granted before while the page had changed
 * already, is *shared*: every grant tells of it, always by name.
 */
#include "core/master/master.h"

static void bind(struct dsm_master *master, struct dsm_version *version, struct dsm_object *lock) {
    dsm_ref ref = dsm_ref_of(master, lock);
    if (version->lock == ref) return;
    bool fresh = !version->lock && (!version->last || !lock->told);
    version->lock = fresh || !DSM_RULE_ON(master, DSM_RULE_SHARED) ? ref : DSM_SHARED;
    if (!fresh) dsm_mbound_drop(master, version);
}

int dsm_entry_on_bind(struct dsm_master *master, uint32_t from, struct dsm_cursor *cursor) {
    uint64_t id = dsm_get64(cursor), page = dsm_get64(cursor);
    uint32_t count = dsm_get16(cursor);
    const struct dsm_mregion *region = dsm_mregion_find(master, page >> 32);
    if (!dsm_cursor_done(cursor) || !id || !count || from >= DSM_MAX_HOSTS) return DSM_E_PEER;
    if (region && (uint64_t)(uint32_t)page + count > region->pages) return DSM_E_PEER;
    if (master->config.model != DSM_EC || !region) return DSM_OK;
    struct dsm_object *lock = dsm_object_lock(master, id);
    if (!lock) return DSM_OK; /* it is something else, whose acquires tell everything */
    for (uint32_t i = 0; i < count; i++)
        bind(master, dsm_version_find(master, page + i), lock);
    return DSM_OK;
}

bool dsm_entry_concerns(const struct dsm_master *master, const struct dsm_version *version,
                        const struct dsm_object *lock) {
    return version->lock == DSM_SHARED || version->lock == dsm_ref_of(master, lock);
}

void dsm_entry_granted(struct dsm_master *master, struct dsm_object *lock, uint32_t host) {
    if (!lock->told) lock->told = dsm_arena_take(&master->arena, DSM_MAX_HOSTS * sizeof(uint64_t));
    dsm_object_told(master, lock)[host] = master->log;
}

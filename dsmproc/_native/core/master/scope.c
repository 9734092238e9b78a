/* Scope consistency (JUMP, JIAJIA), as a model: a lock's grant tells of what was written while that
 * lock was held, and of nothing else. All other acquires (messages, semaphores, barriers) tell
 * everything.
 *
 * A host announces what it has written before it takes a lock and before it releases one, and tells
 * the master of both (SCOPE). So what a NOTICE names was written while just those locks were held
 * there that the master knows to be open: it belongs to each of their scopes, the inner and the
 * outer ones (rule OUTER). A host's processes are not told apart: what another process of the
 * holder's host writes meanwhile belongs to the scope as well. That is more than the model asks
 * for.
 *
 * A lock may be released by a host that has not taken it. What that host wrote before belongs to
 * the scope, but it is not known what that was: who was not told everything since then is told
 * everything at its next grant.
 *
 * Each lock keeps the pages of its scope with the stamps of their last writes under it, the last
 * written first, until all hosts were told of them.
 */
#include "core/master/master.h"

struct scope_page {
    dsm_ref next;
    dsm_ref version;
    uint64_t last, other; /* as in struct dsm_version, of the notices under this lock */
    uint16_t host;
};

static struct scope_page *page_at(const struct dsm_master *master, dsm_ref ref) {
    return dsm_at(master, ref);
}

/* ---- open scopes ------------------------------------------------------------------------- */

int dsm_scope_on_scope(struct dsm_master *master, uint32_t from, struct dsm_cursor *cursor) {
    uint64_t id = dsm_get64(cursor);
    uint32_t open = dsm_get8(cursor);
    if (!dsm_cursor_done(cursor) || !id || open > 1) return DSM_E_PEER;
    if (master->config.model != DSM_SCC) return DSM_E_PEER;
    struct dsm_object *lock = dsm_object_lock(master, id);
    if (!lock || lock->holder != from || lock->open == open) return DSM_E_PEER;
    if (!open) {
        dsm_scope_close(master, lock);
        return DSM_OK;
    }
    lock->open = 1;
    lock->next_open = master->open;
    master->open = dsm_ref_of(master, lock);
    return DSM_OK;
}

void dsm_scope_close(struct dsm_master *master, struct dsm_object *lock) {
    if (!lock->open) return;
    dsm_ref ref = dsm_ref_of(master, lock), *link = &master->open;
    while (*link != ref)
        link = &((struct dsm_object *)dsm_at(master, *link))->next_open;
    *link = lock->next_open;
    lock->open = lock->next_open = 0;
}

void dsm_scope_released(struct dsm_master *master, struct dsm_object *lock) {
    if (DSM_RULE_ON(master, DSM_RULE_OPENED)) lock->released = master->log;
}

/* ---- their pages ------------------------------------------------------------------------- */

/* The page's entry, taken out of the list; made if there is none. */
static dsm_ref take_out(struct dsm_master *master, struct dsm_object *lock, dsm_ref version) {
    for (dsm_ref *link = &lock->scope; *link; link = &page_at(master, *link)->next) {
        dsm_ref ref = *link;
        if (page_at(master, ref)->version != version) continue;
        *link = page_at(master, ref)->next;
        return ref;
    }
    dsm_ref ref = dsm_arena_take(&master->arena, sizeof(struct scope_page));
    *page_at(master, ref) = (struct scope_page){.version = version, .host = DSM_NO_HOST};
    return ref;
}

static void wrote_under(struct dsm_master *master, struct dsm_object *lock, dsm_ref version,
                        uint32_t host) {
    dsm_ref ref = take_out(master, lock, version);
    struct scope_page *page = page_at(master, ref);
    if (page->host != host) page->other = page->last;
    page->last = master->log;
    page->host = (uint16_t)host;
    page->next = lock->scope;
    lock->scope = ref;
}

void dsm_scope_wrote(struct dsm_master *master, struct dsm_version *version, uint32_t host) {
    for (dsm_ref at = master->open; at;) {
        struct dsm_object *lock = dsm_at(master, at);
        at = lock->next_open;
        if (lock->holder != host) continue;
        wrote_under(master, lock, dsm_ref_of(master, version), host);
        if (!DSM_RULE_ON(master, DSM_RULE_OUTER)) return; /* the one that was taken last */
    }
}

/* ---- telling ----------------------------------------------------------------------------- */

static uint64_t told(const struct dsm_master *master, const struct dsm_object *lock,
                     uint32_t host) {
    const uint64_t *by_lock = lock->told ? dsm_at(master, lock->told) : NULL;
    return by_lock && by_lock[host] > master->told[host] ? by_lock[host] : master->told[host];
}

bool dsm_scope_is_all(const struct dsm_master *master, const struct dsm_object *lock,
                      uint32_t host) {
    return lock->released > master->told[host];
}

const struct dsm_version *dsm_scope_next(const struct dsm_master *master,
                                         const struct dsm_object *lock, uint32_t host,
                                         dsm_ref *at) {
    uint64_t upto = told(master, lock, host);
    for (;;) {
        *at = *at ? page_at(master, *at)->next : lock->scope;
        const struct scope_page *page = *at ? page_at(master, *at) : NULL;
        if (!page || page->last <= upto) return NULL;
        if (page->host != host || page->other > upto) return dsm_at(master, page->version);
    }
}

/* What is older than `upto` stands at the end. */
static void cut(struct dsm_master *master, struct dsm_object *lock, uint64_t upto) {
    dsm_ref *link = &lock->scope;
    while (*link && page_at(master, *link)->last > upto)
        link = &page_at(master, *link)->next;
    for (dsm_ref at = *link, next; at; at = next) {
        next = page_at(master, at)->next;
        dsm_arena_give(&master->arena, at, sizeof(struct scope_page));
    }
    *link = 0;
}

void dsm_scope_prune(struct dsm_master *master, struct dsm_object *lock) {
    uint64_t least = master->log;
    for (uint32_t host = 0; host < DSM_MAX_HOSTS; host++)
        if (dsm_hosts_has(master->joined, host) && told(master, lock, host) < least)
            least = told(master, lock, host);
    cut(master, lock, least);
}

void dsm_scope_forget(struct dsm_master *master, const struct dsm_mregion *region) {
    if (master->config.model != DSM_SCC) return;
    for (dsm_ref o = master->object_list; o; o = dsm_next(master, o)) {
        struct dsm_object *lock = dsm_at(master, o);
        for (dsm_ref *link = &lock->scope; *link;) {
            dsm_ref ref = *link;
            struct scope_page *page = page_at(master, ref);
            const struct dsm_version *version = dsm_at(master, page->version);
            if (version->region != dsm_ref_of(master, region)) {
                link = &page->next;
                continue;
            }
            *link = page->next;
            dsm_arena_give(&master->arena, ref, sizeof *page);
        }
    }
}

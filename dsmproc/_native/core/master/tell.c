/* Telling: what a host must know, before anything that lets a process there go on. */
#include "core/master/master.h"

/* A list of runs (page, count, home, epoch) being written into a message. */
struct list {
    uint32_t message, n_at, n, pages;
    uint64_t first;
    uint32_t count, home, epoch;
};

static void put_run(struct dsm_master *master, struct list *list) {
    if (!list->count) return;
    dsm_put64(master->out, list->first);
    dsm_put16(master->out, list->count);
    dsm_put16(master->out, list->home);
    dsm_put32(master->out, list->epoch);
    list->n++;
    list->count = 0;
}

static void end_list(struct dsm_master *master, struct list *list) {
    put_run(master, list);
    dsm_patch16(master->out, list->n_at, list->n);
    dsm_sent(master->out, list->message, 0);
}

/* Pages come in falling order from the recency list and in rising order from a region. */
static void add_page(struct dsm_master *master, struct list *list,
                     const struct dsm_version *version) {
    uint64_t id = dsm_version_page(master, version);
    bool alike = list->count && list->home == version->home && list->epoch == version->epoch;
    list->pages++;
    if (alike && id + 1 == list->first) {
        list->first = id;
        list->count++;
    } else if (alike && id == list->first + list->count) {
        list->count++;
    } else {
        put_run(master, list);
        *list = (struct list){list->message, list->n_at,    list->n, list->pages, id, 1,
                              version->home, version->epoch};
    }
}

static struct list begin_notices(struct dsm_master *master, uint32_t to, uint64_t upto) {
    struct list list = {.message = dsm_send(master->out, to, DSM_FAST, DSM_MSG_NOTICES)};
    dsm_put64(master->out, upto);
    list.n_at = master->out->nbytes;
    dsm_put16(master->out, 0);
    return list;
}

/* What changed since the host was told; with a lock, in what is bound to it. */
static bool is_news(const struct dsm_master *master, const struct dsm_version *version,
                    uint32_t host, const struct dsm_object *lock) {
    if (lock && !dsm_entry_concerns(master, version, lock)) return false;
    return dsm_version_concerns(master, version, host, dsm_version_told(master, version, host));
}

static void tell_writers(struct dsm_master *master, uint32_t host) {
    struct dsm_told told = {0};
    for (dsm_ref at = master->newest; at; at = dsm_version_at(master, at)->older) {
        const struct dsm_version *version = dsm_version_at(master, at);
        if (version->last <= master->told[host]) break;
        if (is_news(master, version, host, NULL) && dsm_mhomeless_kept(master, version))
            dsm_mhomeless_tell(master, &told, host, dsm_version_page(master, version), version,
                               master->told[host]);
    }
    dsm_mhomeless_end(master, &told);
}

static void tell_updates(struct dsm_master *master, uint32_t host, const struct dsm_object *lock) {
    struct dsm_updates updates = {0};
    for (dsm_ref at = master->newest; at; at = dsm_version_at(master, at)->older) {
        const struct dsm_version *version = dsm_version_at(master, at);
        if (version->last <= master->told[host]) break;
        if (is_news(master, version, host, lock) && dsm_mbound_serves(master, version, host))
            dsm_mbound_tell(master, &updates, host, dsm_version_page(master, version), version);
    }
    dsm_mbound_end(master, &updates);
}

static void tell(struct dsm_master *master, uint32_t host, const struct dsm_object *lock) {
    struct list list = {0};
    bool carried = false, kept = false;
    for (dsm_ref at = master->newest; at; at = dsm_version_at(master, at)->older) {
        const struct dsm_version *version = dsm_version_at(master, at);
        if (version->last <= master->told[host]) break;
        if (!is_news(master, version, host, lock)) continue;
        if (dsm_mhomeless_kept(master, version)) {
            kept = true;
            continue;
        }
        if (dsm_mbound_serves(master, version, host)) {
            carried = true;
            continue;
        }
        if (list.pages == DSM_BATCH) {
            end_list(master, &list);
            list = (struct list){0};
        }
        if (!list.pages) list = begin_notices(master, host, 0);
        add_page(master, &list, version);
    }
    if (list.pages) end_list(master, &list);
    if (carried) tell_updates(master, host, lock);
    if (kept) tell_writers(master, host);
}

void dsm_tell(struct dsm_master *master, uint32_t host) {
    if (master->told[host] == master->log) return;
    tell(master, host, NULL);
    struct list list = begin_notices(master, host, master->log);
    end_list(master, &list);
    master->told[host] = master->log;
}

static void tell_scope(struct dsm_master *master, uint32_t host, struct dsm_object *lock) {
    struct list list = {0};
    dsm_ref at = 0;
    for (const struct dsm_version *page; (page = dsm_scope_next(master, lock, host, &at));) {
        if (list.pages == DSM_BATCH) {
            end_list(master, &list);
            list = (struct list){0};
        }
        if (!list.pages) list = begin_notices(master, host, 0);
        add_page(master, &list, page);
    }
    if (list.pages) end_list(master, &list);
}

void dsm_tell_grant(struct dsm_master *master, uint32_t host, struct dsm_object *lock) {
    uint32_t model = master->config.model;
    bool some = model == DSM_EC || (model == DSM_SCC && !dsm_scope_is_all(master, lock, host));
    if (!some) {
        dsm_tell(master, host);
        return;
    }
    if (model == DSM_EC)
        tell(master, host, lock);
    else
        tell_scope(master, host, lock);
    dsm_entry_granted(master, lock, host);
    if (model == DSM_SCC) dsm_scope_prune(master, lock);
}

/* ---- answers ------------------------------------------------------------------------------- */

void dsm_tell_published(struct dsm_master *master, uint32_t host) {
    if (DSM_RULE_ON(master, DSM_RULE_TWO_NUMBERS))
        dsm_tell(master, host);
    else
        master->told[host] = master->log;
    uint32_t message = dsm_send(master->out, host, DSM_FAST, DSM_MSG_PUBLISHED);
    dsm_put64(master->out, master->log);
    dsm_sent(master->out, message, 0);
}

void dsm_tell_ret(struct dsm_master *master, uint32_t host, uint64_t req, uint32_t status,
                  uint64_t value) {
    if (!dsm_hosts_has(master->joined, host))
        return; /* a party that came to a barrier, and is lost */
    dsm_tell(master, host);
    uint32_t message = dsm_send(master->out, host, DSM_FAST, DSM_MSG_RET);
    dsm_put64(master->out, req);
    dsm_put8(master->out, status);
    dsm_put64(master->out, value);
    dsm_sent(master->out, message, 0);
}

/* ---- regions ------------------------------------------------------------------------------- */

enum { LIST_PAGES = 4096 }; /* most pages in one part of a region's list */

static struct list begin_region(struct dsm_master *master, uint32_t to,
                                const struct dsm_mregion *region) {
    struct list list = {.message = dsm_send(master->out, to, DSM_FAST, DSM_MSG_REGION)};
    dsm_put32(master->out, region->id);
    dsm_put8(master->out, DSM_ST_OK);
    dsm_put32(master->out, region->pages);
    dsm_put8(master->out, region->policy);
    dsm_put16(master->out, region->hosts);
    dsm_put8(master->out, 0); /* last: set in the last part */
    list.n_at = master->out->nbytes;
    dsm_put16(master->out, 0);
    return list;
}

static void send_writers(struct dsm_master *master, uint32_t to, const struct dsm_mregion *region) {
    struct dsm_told told = {0};
    for (uint32_t index = 0; index < region->pages; index++) {
        if (!dsm_version_chunk(master, region, index)) {
            index |= DSM_VERSIONS - 1;
            continue;
        }
        uint64_t id = (uint64_t)region->id << 32 | index;
        const struct dsm_version *version = dsm_version_find(master, id);
        if (version->last) dsm_mhomeless_tell(master, &told, to, id, version, 0);
    }
    dsm_mhomeless_end(master, &told);
}

void dsm_tell_region(struct dsm_master *master, uint32_t to, struct dsm_mregion *region,
                     bool with_pages, bool asked) {
    struct list list = begin_region(master, to, region);
    for (uint32_t index = 0; with_pages && index < region->pages; index++) {
        if (!dsm_version_chunk(master, region, index)) {
            index |= DSM_VERSIONS - 1;
            continue;
        }
        const struct dsm_version *version = dsm_version_of(master, region, index);
        if (!version->last && !version->epoch) continue;
        if (list.pages == LIST_PAGES) {
            end_list(master, &list);
            list = begin_region(master, to, region);
        }
        add_page(master, &list, version);
    }
    if (with_pages && region->policy == DSM_HOME_HOMELESS) { /* before the attach ends */
        end_list(master, &list);
        send_writers(master, to, region);
        list = begin_region(master, to, region);
    }
    master->out->bytes[list.n_at - 1] = asked ? 1 : 2;
    end_list(master, &list);
}

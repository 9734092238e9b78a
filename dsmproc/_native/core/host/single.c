/* Sequential consistency, the host's half (IVY: one writer, or several readers; its improved
 * central manager). The master's half is master/single.c: it knows who has the page, and serves one
 * request for it after the other. There are no twins, diffs or notices, and a publish has nothing
 * to do: a write is done when no other host has the page any more.
 *
 *   ZERO, ABSENT ──fault: NEED──► COPY (read) ──► CLEAN ──────────write: NEED, OWN──────────┐
 *        ▲    │                                    ▲ │INV                                  ▼
 *        │    └──► COPY (write), OWN ──────────────┼─┴────► ABSENT          HOME_PRIVATE (writes)
 *        └──INV, GIVE (write)── HOME (owner, others have copies) ◄──GIVE (read)──┘
 *
 * Invariants.
 *   a  HOME_PRIVATE: no other host has the page. HOME, CLEAN: no process of any host can write it.
 *      So what is given needs no announcement (LENT, home.c): it is taken back before anybody
 *      writes
 *   b  a page that was mapped for a fault stays for a millisecond (RETIRING): what takes it away
 *      waits, so that the instruction that faulted is done once; or two writers could take the
 *      page from each other for ever
 *   c  one NEED of a page is out at a time. Where the host that was to send the page is lost, the
 *      master is told that it has come (DONE), or that it has not and cannot any more (STILL)
 *   d  INV and GIVE are answered, and what is given up unasked is told (GONE 0), not answered: an
 *      INV that is on its way when the page comes anew could otherwise take that away
 */
#include <assert.h>

#include "core/host/host.h"

enum { HOLD = 1000 }; /* microseconds */

enum { NOTHING = 0, INV, GIVE_READ, GIVE_WRITE }; /* what waits in page->later */

static bool is_here(const struct dsm_page *page) {
    return page->state == DSM_CLEAN || page->state == DSM_HOME || page->state == DSM_HOME_PRIVATE;
}

/* ---- wanting ----------------------------------------------------------------------------- */

static void want(struct dsm_host *host, struct dsm_page *page, bool write) {
    if (page->flags & DSM_WANTING) return; /* c */
    page->flags |= DSM_WANTING;
    if (++host->gets == 0) host->gets = 1;
    page->get = host->gets;
    uint32_t message = dsm_send(host->out, DSM_MASTER, DSM_FAST, DSM_MSG_NEED);
    dsm_put64(host->out, dsm_page_id(host, page));
    dsm_put8(host->out, write);
    dsm_put32(host->out, page->get);
    dsm_sent(host->out, message, 0);
}

/* At EV_MORE the pages that are RETIRING now are not any more. */
static void arm(struct dsm_host *host) {
    if (host->armed || !host->nretiring) return;
    host->armed = host->nretiring;
    dsm_act(host->out, DSM_ACT_MORE)->arg = HOLD;
}

static void hold(struct dsm_host *host, struct dsm_page *page) {
    if (page->flags & DSM_RETIRING) return;
    page->flags |= DSM_RETIRING;
    dsm_queue_push(host, &host->retiring, dsm_ref_of(host, page)); /* by dirty_next */
    host->nretiring++;
    arm(host);
}

static void map(struct dsm_host *host, struct dsm_page *page, uint32_t client) {
    dsm_page_map(host, page, 1, client, page->state == DSM_HOME_PRIVATE);
    hold(host, page); /* b */
}

void dsm_single_fault(struct dsm_host *host, struct dsm_page *page, uint32_t client, bool write) {
    if (page->state == DSM_LOST) {
        dsm_page_wait(host, page, client, write, 1);
        dsm_serve_poison(host, page);
    } else if (page->state == DSM_HOME_PRIVATE || (is_here(page) && !write)) {
        map(host, page, client);
    } else {
        dsm_page_wait(host, page, client, write, 1);
        want(host, page, write);
    }
}

/* The page is here: whoever waited to read goes on, to write if no other host has it. */
static void serve(struct dsm_host *host, struct dsm_page *page) {
    dsm_ref left = 0, next;
    for (dsm_ref at = page->waiters; at; at = next) {
        struct dsm_waiter *waiter = dsm_at(host, at);
        next = waiter->next;
        if (waiter->write && page->state != DSM_HOME_PRIVATE) {
            waiter->next = left;
            left = at;
            continue;
        }
        map(host, page, waiter->client);
        dsm_arena_give(&host->arena, at, sizeof *waiter);
    }
    page->waiters = left;
    if (left) want(host, page, true);
}

static void come(struct dsm_host *host, struct dsm_page *page, uint8_t state) {
    page->flags &= (uint16_t)~DSM_WANTING;
    page->get = 0;
    page->state = state;
    page->home = state == DSM_CLEAN ? (uint16_t)DSM_NO_HOST : (uint16_t)host->config.host;
    serve(host, page);
}

/* ---- giving up --------------------------------------------------------------------------- */

static void gone(struct dsm_host *host, uint64_t id, uint32_t round) {
    uint32_t message = dsm_send(host->out, DSM_MASTER, DSM_FAST, DSM_MSG_GONE);
    dsm_put64(host->out, id);
    dsm_put32(host->out, round);
    dsm_sent(host->out, message, 0);
}

static void drop(struct dsm_host *host, struct dsm_page *page) {
    dsm_page_act(host, DSM_ACT_PUNCH, page);
    page->state = DSM_ABSENT;
    page->home = DSM_NO_HOST;
}

void dsm_single_evicted(struct dsm_host *host, struct dsm_page *page) {
    page->home = DSM_NO_HOST;
    gone(host, dsm_page_id(host, page), 0); /* d */
}

static void give(struct dsm_host *host, struct dsm_page *page, uint32_t to, bool write) {
    if (page->state == DSM_HOME_PRIVATE) dsm_page_act(host, DSM_ACT_PROTECT, page); /* a */
    page->state = DSM_HOME;
    page->home = (uint16_t)host->config.host;
    if (!dsm_is_lost(host, to)) {
        uint32_t message = dsm_send(host->out, to, DSM_FAST, DSM_MSG_COPY);
        dsm_put64(host->out, dsm_page_id(host, page));
        dsm_put8(host->out, write);
        dsm_sent(host->out, message, 1);
        struct dsm_action *payload = dsm_act(host->out, DSM_ACT_PAYLOAD_PAGES);
        payload->id = dsm_page_id(host, page);
        payload->count = 1;
    }
    if (write) drop(host, page);
}

static void do_later(struct dsm_host *host, struct dsm_page *page) {
    uint32_t what = page->later;
    page->later = NOTHING;
    if (!is_here(page)) {
        gone(host, dsm_page_id(host, page), page->round);
    } else if (what == INV) {
        dsm_count(host, DSM_COUNT_INVALIDATIONS, 1);
        drop(host, page);
        gone(host, dsm_page_id(host, page), page->round);
    } else {
        give(host, page, page->heir, what == GIVE_WRITE);
    }
}

void dsm_single_held(struct dsm_host *host) {
    for (; host->armed; host->armed--) {
        struct dsm_page *page = dsm_page_at(host, dsm_queue_pop(host, &host->retiring));
        host->nretiring--;
        page->flags &= (uint16_t)~DSM_RETIRING;
        if (page->later) do_later(host, page);
    }
    arm(host);
}

void dsm_single_forget(struct dsm_host *host, uint32_t region) {
    struct dsm_queue kept = {0};
    for (dsm_ref at; (at = dsm_queue_pop(host, &host->retiring));) {
        const struct dsm_page *page = dsm_page_at(host, at);
        if (dsm_page_id(host, page) >> 32 == region)
            host->nretiring--;
        else
            dsm_queue_push(host, &kept, at);
    }
    host->retiring = kept;
    if (host->armed > host->nretiring) host->armed = host->nretiring;
}

/* ---- messages ---------------------------------------------------------------------------- */

/* The page of a message; NULL: its region is gone, or there is none such (then cursor->bad). */
static struct dsm_page *named(struct dsm_host *host, struct dsm_cursor *cursor, uint64_t id) {
    const struct dsm_region *region = dsm_region_find(host, id >> 32);
    if (host->config.model != DSM_SC) cursor->bad = true;
    if (!region || region->state != DSM_REGION_READY) return NULL;
    if ((uint32_t)id >= region->pages || !dsm_arena_room(&host->arena, dsm_page_room(host, id, 1)))
        cursor->bad = true;
    return cursor->bad ? NULL : dsm_page_find(host, id);
}

static int ask(struct dsm_host *host, struct dsm_cursor *cursor, uint32_t what) {
    uint64_t id = dsm_get64(cursor);
    uint32_t round = dsm_get32(cursor);
    uint32_t to = what == INV ? 0 : dsm_get16(cursor);
    if (what != INV && dsm_get8(cursor)) what = GIVE_WRITE;
    if (!dsm_cursor_done(cursor) || to >= DSM_MAX_HOSTS || (what != INV && to == host->config.host))
        return DSM_E_PEER;
    struct dsm_page *page = named(host, cursor, id);
    if (cursor->bad) return DSM_E_PEER;
    /* One request at a time; but who is given a copy may die before it is. */
    if (page && page->later && page->later != GIVE_READ) return DSM_E_PEER;
    if (!page) {
        gone(host, id, round);
        return DSM_OK;
    }
    page->later = (uint8_t)what;
    page->round = round;
    page->heir = (uint16_t)to;
    if (!(page->flags & DSM_RETIRING)) do_later(host, page); /* b */
    return DSM_OK;
}

int dsm_single_on_inv(struct dsm_host *host, struct dsm_cursor *cursor) {
    return ask(host, cursor, INV);
}

int dsm_single_on_give(struct dsm_host *host, struct dsm_cursor *cursor) {
    return ask(host, cursor, GIVE_READ);
}

int dsm_single_on_own(struct dsm_host *host, struct dsm_cursor *cursor) {
    uint64_t id = dsm_get64(cursor);
    uint32_t how = dsm_get8(cursor);
    if (!dsm_cursor_done(cursor) || how > DSM_OWN_ADOPT) return DSM_E_PEER;
    struct dsm_page *page = named(host, cursor, id);
    if (!page) return cursor->bad ? DSM_E_PEER : DSM_OK;
    if (how == DSM_OWN_ADOPT) {
        if (page->state != DSM_CLEAN) return DSM_OK; /* a GONE is on its way */
        page->state = DSM_HOME;
        page->home = (uint16_t)host->config.host;
        return DSM_OK;
    }
    if (!(page->flags & DSM_WANTING) || is_here(page) != (how == DSM_OWN_ALONE)) return DSM_E_PEER;
    if (how == DSM_OWN_ZERO) dsm_page_act(host, DSM_ACT_ZERO, page);
    come(host, page, DSM_HOME_PRIVATE);
    return DSM_OK;
}

int dsm_single_on_none(struct dsm_host *host, struct dsm_cursor *cursor) {
    uint64_t id = dsm_get64(cursor);
    uint32_t who = dsm_get16(cursor);
    if (!dsm_cursor_done(cursor) || who >= DSM_MAX_HOSTS) return DSM_E_PEER;
    struct dsm_page *page = named(host, cursor, id);
    if (!page) return cursor->bad ? DSM_E_PEER : DSM_OK;
    if (!(page->flags & DSM_WANTING) || is_here(page)) return DSM_E_PEER;
    page->flags &= (uint16_t)~DSM_WANTING;
    page->get = 0;
    page->home = (uint16_t)who;
    dsm_serve_poison(host, page);
    return DSM_OK;
}

int dsm_single_on_copy(struct dsm_host *host, struct dsm_cursor *cursor) {
    uint64_t id = dsm_get64(cursor);
    uint32_t write = dsm_get8(cursor);
    if (cursor->bad || (uint64_t)(cursor->end - cursor->at) != host->config.page_size)
        return DSM_E_PEER;
    struct dsm_page *page = named(host, cursor, id);
    if (!page) return cursor->bad ? DSM_E_PEER : DSM_OK;
    if (!(page->flags & DSM_WANTING) || is_here(page)) return DSM_E_PEER;
    struct dsm_action *fill = dsm_act(host->out, DSM_ACT_FILL);
    fill->id = id;
    fill->count = 1;
    fill->off = (uint32_t)(cursor->at - host->event->bytes);
    dsm_count(host, DSM_COUNT_PAGES_FETCHED, 1);
    uint32_t message = dsm_send(host->out, DSM_MASTER, DSM_FAST, DSM_MSG_DONE);
    dsm_put64(host->out, id);
    dsm_put32(host->out, page->get);
    dsm_sent(host->out, message, 0);
    come(host, page, write ? DSM_HOME_PRIVATE : DSM_CLEAN);
    return DSM_OK;
}

/* The host that was to send it is lost: has it come? From here on it does not come any more. */
int dsm_single_on_stranded(struct dsm_host *host, struct dsm_cursor *cursor) {
    uint64_t id = dsm_get64(cursor);
    uint32_t number = dsm_get32(cursor), who = dsm_get16(cursor);
    if (!dsm_cursor_done(cursor) || who >= DSM_MAX_HOSTS || who == host->config.host)
        return DSM_E_PEER;
    const struct dsm_page *page = named(host, cursor, id);
    if (!page) return cursor->bad ? DSM_E_PEER : DSM_OK;
    if (DSM_RULE_ON(host, DSM_RULE_CUT)) dsm_recover_host_lost(host, who); /* c */
    if (page->get != number) return DSM_OK; /* a DONE is on its way */
    uint32_t message = dsm_send(host->out, DSM_MASTER, DSM_FAST, DSM_MSG_STILL);
    dsm_put64(host->out, id);
    dsm_put32(host->out, number);
    dsm_sent(host->out, message, 0);
    return DSM_OK;
}

int dsm_single_check(const struct dsm_page *page) {
    bool wanting = page->flags & DSM_WANTING;
    if (wanting != (page->get != 0)) return 30;
    if (page->waiters && !wanting) return 31;
    if (page->later && !(page->flags & DSM_RETIRING)) return 32;
    if (page->state == DSM_DIRTY || page->state == DSM_HOME_DIRTY || page->state == DSM_FETCHING)
        return 33;
    return page->flags & ~(uint32_t)(DSM_WANTING | DSM_RETIRING) ? 34 : 0;
}

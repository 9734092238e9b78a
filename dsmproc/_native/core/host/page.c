/* The automaton of a page at one host.
 *
 * Definitions. A page's *home* holds its current content; other hosts hold copies. A *twin* is the
 * content of a copy before it was written here (none: zeros). A *notice* says that a page changed.
 *
 * Invariants, by their rules (docs/protocol.md); dsm_host_check tests those marked *.
 *   FLUSH: a dirty page is never thrown away: it is protected, compared, sent, then punched
 *   CROSSED: a reply that crossed an invalidation is dropped and the page asked for again: each
 *      GET has a number, an invalidation forgets it, and only the newest number's reply is used
 *   ONE_DIFF*: at most one diff of a page is unacknowledged, and no GET of it is out meanwhile
 *   FETCHED: a home page is protected in all local processes before another host gets its first
 *      copy; it is unprotected (HOME_PRIVATE) only after a notice, while no younger copy is held
 *   OWED*: a page whose changes left the host is owed: the next publish announces it
 *
 *   ZERO ──write──► DIRTY ──publish: claim won (publish.c)──► HOME_PRIVATE ◄──publish── HOME_DIRTY
 *    │notice          ▲ │publish: compared, diff sent             │GET, DIFF: protect      ▲
 *    ▼                │ ▼                                         ▼                        │
 *   ABSENT ─fault─► FETCHING ─PAGE─► CLEAN ──write──► DIRTY      HOME ──────write──────────┘
 *    ▲                 │notice         │notice          │notice: compared, diff sent (FLUSH)
 *    └─────────────────┴───────────────┴────────────────┘
 *
 * dsm_page_fault serves the edges "fault" and "write", dsm_page_invalidate "notice", dsm_page_on_*
 * the messages, what a comparison leads to is in flush.c, what a home does in home.c.
 */
#include <assert.h>

#include "core/host/host.h"
#include "core/policy/policy.h"

/* ---- faults ------------------------------------------------------------------------------ */

static bool fetches_with(const struct dsm_host *host, const struct dsm_page *a,
                         const struct dsm_page *b) {
    (void)host;
    return b->state == DSM_ABSENT && b->home == a->home && !(b->flags & DSM_UNACKED) &&
           !(b->run & DSM_SHY);
}

static void send_get(struct dsm_host *host, const struct dsm_page *first, uint32_t count,
                     uint32_t channel) {
    uint32_t message = dsm_send(host->out, first->home, channel, DSM_MSG_GET);
    dsm_put32(host->out, first->get);
    dsm_put64(host->out, dsm_page_id(host, first));
    dsm_put16(host->out, count);
    dsm_sent(host->out, message, 0);
}

void dsm_page_get(struct dsm_host *host, struct dsm_page *first, uint32_t count, uint32_t channel) {
    if (++host->gets == 0) host->gets = 1;
    for (uint32_t i = 0; i < count; i++) {
        dsm_page_sought(host, &first[i]); /* a notice has said where it lives */
        first[i].state = DSM_FETCHING;
        first[i].get = host->gets;
    }
    send_get(host, first, count, channel);
}

/* An absent page is wanted: ask its home for it and for its absent neighbours. */
void dsm_page_fetch(struct dsm_host *host, struct dsm_page *page, int32_t reach) {
    if (dsm_page_is_homeless(host, page)) {
        dsm_homeless_fetch(host, page);
        return;
    }
    assert(page->state == DSM_ABSENT && page->home != host->config.host);
    if (page->flags & DSM_UNACKED && DSM_RULE_ON(host, DSM_RULE_ONE_DIFF)) return; /* later */
    if (dsm_is_lost(host, page->home)) {
        dsm_page_seek(host, page);
        return;
    }
    struct dsm_run run = dsm_serve_around(host, page, 1, reach, fetches_with);
    struct dsm_page *first = page - (page->index - run.first);
    page->run &= (uint8_t)~DSM_SHY;
    dsm_page_get(host, first, run.end - run.first, DSM_FAST);
    uint64_t id = dsm_page_id(host, first);
    dsm_row_brought(host, id, id + run.end - run.first);
}

static bool comes_with(const struct dsm_host *host, const struct dsm_page *a,
                       const struct dsm_page *b) {
    (void)host;
    return b->state == DSM_FETCHING && b->get == a->get;
}

/* Somebody waits for a page that is on its way: the fault's row goes on behind all that will be
 * mapped for it then (dsm_serve_waiters). */
static void await(struct dsm_host *host, struct dsm_page *page, uint32_t client, bool write,
                  int32_t reach) {
    dsm_page_wait(host, page, client, write, reach);
    struct dsm_run run = dsm_serve_around(host, page, write ? 1 : DSM_CHUNK, reach, comes_with);
    uint64_t id = dsm_page_id(host, page - (page->index - run.first));
    dsm_row_brought(host, id, id + run.end - run.first);
}

void dsm_page_fault(struct dsm_host *host, struct dsm_page *page, uint32_t client, bool write) {
    int32_t reach = dsm_row_reach(host, dsm_page_id(host, page), write);
    dsm_page_settle_in(host, page);
    switch (page->state) {
    case DSM_STALE:
    case DSM_ABSENT:
        if (reach == 1 && dsm_page_is_hot(host, page)) write = true;
        dsm_page_wait(host, page, client, write, reach);
        dsm_page_fetch(host, page, reach);
        break;
    case DSM_FETCHING:
        await(host, page, client, write, reach);
        break;
    case DSM_LOST:
        dsm_page_wait(host, page, client, write, reach);
        dsm_serve_poison(host, page);
        break;
    case DSM_ZERO:
    case DSM_CLEAN:
    case DSM_HOME:
        if (write && page->flags & DSM_HANDING)
            dsm_page_wait(host, page, client, write, reach);
        else if (write)
            dsm_serve_write(host, page, client, reach);
        else
            dsm_serve_map(host, page, client, reach);
        break;
    default:
        dsm_serve_map(host, page, client, reach);
        break;
    }
}

/* ---- fetching ---------------------------------------------------------------------------- */

static bool is_awaited(const struct dsm_host *host, const struct dsm_page *page, uint32_t number) {
    if (page->state != DSM_FETCHING) return false;
    return page->get == number || !DSM_RULE_ON(host, DSM_RULE_CROSSED);
}

/* The page comes from `from`, then, which may be another home than the one that was asked. */
static void take_in(struct dsm_page *page, uint32_t from, struct dsm_cursor *cursor) {
    uint32_t epoch = dsm_get32(cursor), changes = dsm_get32(cursor);
    if (epoch >= page->epoch) {
        page->epoch = epoch;
        page->home = (uint16_t)from;
    }
    if (changes != page->changes) page->streak = 0;
    page->changes = changes;
    page->state = DSM_CLEAN;
    page->get = 0;
}

/* It does not live there. The newer of what the two hosts know of it leads on; a home names itself
 * when it is one, so the way may lead to and fro until it is. */
int dsm_page_on_moved(struct dsm_host *host, struct dsm_cursor *cursor) {
    uint32_t number = dsm_get32(cursor);
    uint64_t id = dsm_get64(cursor);
    uint32_t home = dsm_get16(cursor), epoch = dsm_get32(cursor);
    if (!dsm_cursor_done(cursor) || home >= DSM_MAX_HOSTS) return DSM_E_PEER;
    struct dsm_page *page = dsm_page_there(host, id);
    if (!page || !is_awaited(host, page, number)) return DSM_OK;
    if (epoch > page->epoch && home != host->config.host) {
        page->home = (uint16_t)home;
        page->epoch = epoch;
    }
    bool gone = dsm_is_lost(host, page->home);
    if (page->waiters && !gone) {
        send_get(host, page, 1, DSM_FAST);
        return DSM_OK;
    }
    page->get = 0;
    page->state = DSM_ABSENT;
    if (page->waiters) dsm_page_seek(host, page);
    return DSM_OK;
}

int dsm_page_on_page(struct dsm_host *host, uint32_t from, struct dsm_cursor *cursor) {
    const struct dsm_event *event = host->event;
    uint32_t number = dsm_get32(cursor);
    uint64_t id = dsm_get64(cursor);
    uint32_t count = dsm_get16(cursor), size = host->config.page_size;
    const struct dsm_region *region = dsm_region_find(host, id >> 32);
    if (cursor->bad || (uint64_t)(cursor->end - cursor->at) != (uint64_t)count * (8 + size))
        return DSM_E_PEER;
    if (count == 0 || count > DSM_CHUNK) return DSM_E_PEER;
    if (!region || region->state != DSM_REGION_READY) return DSM_OK;
    uint32_t index = (uint32_t)id;
    if ((uint64_t)index + count > region->pages || index % DSM_CHUNK + count > DSM_CHUNK)
        return DSM_E_PEER;
    struct dsm_page *pages = dsm_page_find(host, id);
    uint32_t off = (uint32_t)(cursor->at - event->bytes) + count * 8;
    for (uint32_t i = 0, n; i < count; i += n) {
        n = 0;
        while (i + n < count && is_awaited(host, &pages[i + n], number))
            take_in(&pages[i + n++], from, cursor);
        if (n == 0) {
            n = 1;
            dsm_get64(cursor);
            continue;
        }
        struct dsm_action *fill = dsm_act(host->out, DSM_ACT_FILL);
        fill->id = id + i;
        fill->count = n;
        fill->off = off + i * size;
        dsm_count(host, DSM_COUNT_PAGES_FETCHED, n);
        dsm_serve_waiters(host, &pages[i], n);
    }
    return DSM_OK;
}

/* ---- invalidation ------------------------------------------------------------------------ */

static void drop_copy(struct dsm_host *host, struct dsm_page *page) {
    dsm_page_act(host, DSM_ACT_PUNCH, page);
    page->state = DSM_ABSENT;
}

static void invalidate_later(struct dsm_host *host, struct dsm_page *page) {
    if (!(page->flags & DSM_INVALID_LATER)) host->invalid_later++;
    page->flags |= DSM_INVALID_LATER;
}

void dsm_page_invalidate(struct dsm_host *host, struct dsm_page *page) {
    dsm_count(host, DSM_COUNT_INVALIDATIONS, 1);
    if (page->home == host->config.host) return; /* the diff came before the notice */
    if (page->flags & (DSM_TAKING | DSM_HANDING)) {
        invalidate_later(host, page); /* it may be the home's page already, or again */
        return;
    }
    dsm_row_unused(page);
    switch (page->state) {
    case DSM_ZERO:
    case DSM_CLEAN:
        drop_copy(host, page);
        break;
    case DSM_FETCHING:
        if (!DSM_RULE_ON(host, DSM_RULE_CROSSED)) break;
        page->get = 0; /* the reply on its way is too old */
        page->state = DSM_ABSENT;
        if (page->waiters) dsm_page_fetch(host, page, 1);
        break;
    case DSM_DIRTY:
        if (!DSM_RULE_ON(host, DSM_RULE_FLUSH)) {
            dsm_page_act(host, DSM_ACT_UNTWIN, page);
            drop_copy(host, page);
        } else if (page->flags & DSM_UNACKED && DSM_RULE_ON(host, DSM_RULE_ONE_DIFF)) {
            invalidate_later(host, page);
        } else {
            dsm_page_compare(host, page, true, false); /* FLUSH */
        }
        break;
    default:
        break;
    }
}

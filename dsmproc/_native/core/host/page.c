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

static const char *const state_names[DSM_PAGE_STATES] = {
    "ZERO", "ABSENT",     "FETCHING",     "CLEAN", "DIRTY",
    "HOME", "HOME_DIRTY", "HOME_PRIVATE", "LOST",  "STALE"};

const char *dsm_page_state_name(uint32_t state) {
    return state < DSM_PAGE_STATES ? state_names[state] : "?";
}

uint64_t dsm_host_page(const struct dsm_host *host, uint64_t id) {
    const struct dsm_region *region = dsm_region_find(host, id >> 32);
    if (!region || region->state != DSM_REGION_READY || (uint32_t)id >= region->pages) return 0;
    const struct dsm_page *page = dsm_page_known(host, region, (uint32_t)id);
    if (!page) return (uint64_t)DSM_NO_HOST << 32;
    return page->state | (uint64_t)page->flags << 8 | (uint64_t)page->home << 32;
}

void dsm_page_act(struct dsm_host *host, uint32_t kind, const struct dsm_page *page) {
    uint64_t id = dsm_page_id(host, page);
    struct dsm_out *out = host->out;
    if (out->nactions) {
        struct dsm_action *before = &out->actions[out->nactions - 1];
        if (before->kind == kind && before->id + before->count == id) {
            before->count++;
            return;
        }
    }
    struct dsm_action *action = dsm_act(out, kind);
    action->id = id;
    action->count = 1;
}

void dsm_page_map(struct dsm_host *host, const struct dsm_page *first, uint32_t count,
                  uint32_t client, bool writable) {
    struct dsm_action *action = dsm_act(host->out, DSM_ACT_MAP);
    action->id = dsm_page_id(host, first);
    action->count = count;
    action->client = client;
    action->flag = writable;
}

void dsm_page_dirtied(struct dsm_host *host, struct dsm_page *page) {
    if (page->flags & DSM_IN_DIRTY) return;
    page->flags |= DSM_IN_DIRTY;
    dsm_queue_push(host, &host->dirty, dsm_ref_of(host, page));
    host->ndirty++;
}

void dsm_page_owe(struct dsm_host *host, struct dsm_page *page, bool changed) {
    if (changed) {
        dsm_bound_forget(host, page); /* it is not all of the change any more */
        page->flags |= DSM_CHANGED;
    }
    if (page->flags & DSM_IN_OWED) return;
    dsm_ref ref = dsm_ref_of(host, page);
    page->flags |= DSM_IN_OWED;
    page->owed_next = 0;
    if (host->owed_tail)
        dsm_page_at(host, host->owed_tail)->owed_next = ref;
    else
        host->owed_head = ref;
    host->owed_tail = ref;
    host->nowed++;
}

/* ---- faults ------------------------------------------------------------------------------ */

void dsm_page_wait(struct dsm_host *host, struct dsm_page *page, uint32_t client, bool write,
                   int32_t reach) {
    for (dsm_ref at = page->waiters; at; at = dsm_next(host, at)) {
        struct dsm_waiter *waiter = dsm_at(host, at);
        if (waiter->client != client) continue;
        waiter->write |= write;
        waiter->reach = reach;
        return;
    }
    dsm_ref ref = dsm_arena_take(&host->arena, sizeof(struct dsm_waiter));
    *(struct dsm_waiter *)dsm_at(host, ref) = (struct dsm_waiter){
        .next = page->waiters, .client = client, .write = write, .reach = reach};
    page->waiters = ref;
}

static void forget_waiters(struct dsm_host *host, struct dsm_page *page) {
    while (page->waiters) {
        dsm_ref ref = page->waiters;
        page->waiters = dsm_next(host, ref);
        dsm_arena_give(&host->arena, ref, sizeof(struct dsm_waiter));
    }
}

/* The pages around `page` that `joins` accepts: those of its aligned window of `window` pages, and
 * of its reach where that is more. */
static struct dsm_run run_around(struct dsm_host *host, const struct dsm_page *page,
                                 uint32_t window, int32_t reach,
                                 bool (*joins)(const struct dsm_host *, const struct dsm_page *,
                                               const struct dsm_page *)) {
    const struct dsm_region *region = dsm_at(host, page->region);
    uint32_t low = page->index & ~(window - 1), high = low + window;
    struct dsm_run run = {page->index, page->index + 1};
    struct dsm_run reached = dsm_run_reached(host, page, reach);
    if (high > region->pages) high = region->pages;
    if (reached.end > high) high = reached.end;
    if (reached.first < low) low = reached.first;
    /* A window lies within one chunk, so its records stand side by side. */
    while (run.first > low && joins(host, page, page - (page->index - run.first) - 1))
        run.first--;
    while (run.end < high && joins(host, page, page + (run.end - page->index)))
        run.end++;
    return run;
}

static uint32_t map_class(const struct dsm_page *page) {
    switch (page->state) {
    case DSM_ZERO:
        return 1;
    case DSM_CLEAN:
    case DSM_HOME:
        return 2;
    case DSM_DIRTY:
    case DSM_HOME_DIRTY:
    case DSM_HOME_PRIVATE:
        return 3;
    default:
        return 0;
    }
}

static bool maps_alike(const struct dsm_host *host, const struct dsm_page *a,
                       const struct dsm_page *b) {
    if (b->state == DSM_ZERO && b->home == host->config.host) return false;
    return map_class(a) == map_class(b);
}

/* The page is here and may be used as it is: map it, and its likes around it. Mapping costs little;
 * making fresh pages costs memory, so that they come by rows only. */
static void map_run(struct dsm_host *host, struct dsm_page *page, uint32_t client, int32_t reach) {
    uint32_t window = page->state == DSM_ZERO ? 1 : host->config.run;
    struct dsm_run run = run_around(host, page, window, reach, maps_alike);
    struct dsm_page *first = page - (page->index - run.first);
    if (page->state == DSM_ZERO)
        for (uint32_t i = 0; i < run.end - run.first; i++)
            dsm_page_act(host, DSM_ACT_ZERO, first + i);
    dsm_page_map(host, first, run.end - run.first, client, map_class(page) == 3);
    dsm_run_used(first, run.end - run.first);
    uint64_t id = dsm_page_id(host, first);
    dsm_run_brought(host, id, id + run.end - run.first);
}

void dsm_page_poison(struct dsm_host *host, struct dsm_page *page) {
    for (dsm_ref at = page->waiters; at; at = dsm_next(host, at)) {
        const struct dsm_waiter *waiter = dsm_at(host, at);
        struct dsm_action *action = dsm_act(host->out, DSM_ACT_POISON);
        action->id = dsm_page_id(host, page);
        action->client = waiter->client;
        action->host =
            dsm_page_is_homeless(host, page) ? dsm_homeless_culprit(host, page) : page->home;
    }
    page->state = DSM_LOST;
    forget_waiters(host, page);
}

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
    struct dsm_run run = run_around(host, page, 1, reach, fetches_with);
    struct dsm_page *first = page - (page->index - run.first);
    page->run &= (uint8_t)~DSM_SHY;
    dsm_page_get(host, first, run.end - run.first, DSM_FAST);
    uint64_t id = dsm_page_id(host, first);
    dsm_run_brought(host, id, id + run.end - run.first);
}

static bool comes_with(const struct dsm_host *host, const struct dsm_page *a,
                       const struct dsm_page *b) {
    (void)host;
    return b->state == DSM_FETCHING && b->get == a->get;
}

/* Somebody waits for a page that is on its way: the fault's row goes on behind all that will be
 * mapped for it then (dsm_page_serve). */
static void await(struct dsm_host *host, struct dsm_page *page, uint32_t client, bool write,
                  int32_t reach) {
    dsm_page_wait(host, page, client, write, reach);
    struct dsm_run run = run_around(host, page, write ? 1 : DSM_CHUNK, reach, comes_with);
    uint64_t id = dsm_page_id(host, page - (page->index - run.first));
    dsm_run_brought(host, id, id + run.end - run.first);
}

static void first_write(struct dsm_host *host, struct dsm_page *page, uint32_t client,
                        int32_t reach) {
    struct dsm_run run = dsm_run_open(host, page, reach);
    dsm_page_map(host, page - (page->index - run.first), run.end - run.first, client, true);
}

int dsm_page_fault(struct dsm_host *host, const struct dsm_event *event, bool write) {
    struct dsm_page *page = dsm_page_find(host, event->id);
    if (!page || event->client >= DSM_MAX_CLIENTS) return DSM_E_EVENT;
    dsm_count(host, write ? DSM_COUNT_WRITE_FAULTS : DSM_COUNT_READ_FAULTS, 1);
    if (host->config.model == DSM_SC) {
        dsm_single_fault(host, page, event->client, write);
        return DSM_OK;
    }
    int32_t reach = dsm_run_reach(host, event->id, write);
    dsm_page_settle_in(host, page);
    switch (page->state) {
    case DSM_STALE:
    case DSM_ABSENT:
        if (reach == 1 && dsm_run_is_hot(host, page)) write = true;
        dsm_page_wait(host, page, event->client, write, reach);
        dsm_page_fetch(host, page, reach);
        break;
    case DSM_FETCHING:
        await(host, page, event->client, write, reach);
        break;
    case DSM_LOST:
        dsm_page_wait(host, page, event->client, write, reach);
        dsm_page_poison(host, page);
        break;
    case DSM_ZERO:
    case DSM_CLEAN:
    case DSM_HOME:
        if (write && page->flags & DSM_HANDING)
            dsm_page_wait(host, page, event->client, write, reach);
        else if (write)
            first_write(host, page, event->client, reach);
        else
            map_run(host, page, event->client, reach);
        break;
    default:
        map_run(host, page, event->client, reach);
        break;
    }
    if (host->config.ahead) dsm_run_ahead(host, dsm_at(host, page->region));
    return DSM_OK;
}

/* ---- fetching ---------------------------------------------------------------------------- */

static bool is_awaited(const struct dsm_host *host, const struct dsm_page *page, uint32_t number) {
    if (page->state != DSM_FETCHING) return false;
    return page->get == number || !DSM_RULE_ON(host, DSM_RULE_CROSSED);
}

void dsm_page_serve(struct dsm_host *host, struct dsm_page *first, uint32_t count) {
    for (uint32_t i = 0; i < count; i++)
        for (dsm_ref at = first[i].waiters; at; at = dsm_next(host, at)) {
            const struct dsm_waiter *waiter = dsm_at(host, at);
            if (waiter->write) continue;
            dsm_page_map(host, first, count, waiter->client, false);
            dsm_run_used(first, count);
        }
    for (uint32_t i = 0; i < count; i++) {
        for (dsm_ref at = first[i].waiters; at; at = dsm_next(host, at)) {
            const struct dsm_waiter *waiter = dsm_at(host, at);
            if (!waiter->write) continue;
            if (first[i].state == DSM_CLEAN || first[i].state == DSM_HOME)
                first_write(host, &first[i], waiter->client, waiter->reach);
            else
                dsm_page_map(host, &first[i], 1, waiter->client, true);
        }
        forget_waiters(host, &first[i]);
    }
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
        dsm_page_serve(host, &pages[i], n);
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

bool dsm_page_revalidate(struct dsm_host *host, struct dsm_page *page) {
    if (!(page->flags & DSM_INVALID_LATER)) return false;
    page->flags &= (uint16_t)~DSM_INVALID_LATER;
    host->invalid_later--;
    return true;
}

void dsm_page_invalidate(struct dsm_host *host, struct dsm_page *page) {
    dsm_count(host, DSM_COUNT_INVALIDATIONS, 1);
    if (page->home == host->config.host) return; /* the diff came before the notice */
    if (page->flags & (DSM_TAKING | DSM_HANDING)) {
        invalidate_later(host, page); /* it may be the home's page already, or again */
        return;
    }
    dsm_run_unused(page);
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

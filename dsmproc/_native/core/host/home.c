/* What a home does: it gives copies of its pages and applies the diffs of others to them.
 *
 * Invariants.
 *   FORWARD: whoever asks a host that is not the page's home, or sends it a diff, is told where
 *      the home is as far as is known there, and asks there. Nothing is passed on: when a host
 *      dies, all others know which of their questions died with it
 *   FETCHED: a home page is protected in all local processes before another host gets its first
 *      copy
 *   COUNTED: `changes` counts what changed a home page: diffs applied, own publishes that wrote it
 *   LENT: whatever bytes of a page leave its host are what was announced, or are announced later;
 *      every place where bytes, or the word that they are unchanged, leave a host says why. Here:
 *      HOME is what was announced or is owed; HOME_DIRTY without a twin is announced by the next
 *      publish in any case; HOME_PRIVATE is protected first, and no host has an older copy of
 *      which it will not hear. With a twin a publish announces what differs from the twin then; a
 *      byte that was changed, given, and changed back would not. So the twin is given: it is what
 *      was announced, with the diffs of others
 */
#include "core/host/host.h"

static void protect_home(struct dsm_host *host, struct dsm_page *page) {
    if (page->state == DSM_HOME_PRIVATE) {
        dsm_page_act(host, DSM_ACT_PROTECT, page);
        page->state = DSM_HOME;
    }
    page->flags |= DSM_HELD;
}

/* Where a request for this page should go, as far as is known here: this host, another, or
 * DSM_NO_HOST, then nobody had a reason to ask. Makes no record. */
static uint32_t place_of(const struct dsm_host *host, const struct dsm_region *region,
                         uint32_t index) {
    return dsm_page_home(host, region, index);
}

/* ---- giving copies ----------------------------------------------------------------------- */

static bool is_lent(const struct dsm_host *host, const struct dsm_page *page) {
    return page->state == DSM_HOME_DIRTY && page->run & (DSM_OPENED | DSM_HOME_TWIN) &&
           DSM_RULE_ON(host, DSM_RULE_LENT);
}

/* A GET, or the part of it whose pages are all here, or all not. */
struct wish {
    uint32_t from, number, channel;
    uint64_t id;
    uint32_t count;
};

static void give_copies(struct dsm_host *host, const struct wish *wish) {
    for (uint32_t i = 0; i < wish->count; i++) {
        struct dsm_page *page = dsm_page_find(host, wish->id + i);
        dsm_page_settle_in(host, page);
        if (DSM_RULE_ON(host, DSM_RULE_FETCHED)) protect_home(host, page);
        dsm_feed_given(host, page, wish->from);
    }
    uint32_t message = dsm_send(host->out, wish->from, wish->channel, DSM_MSG_PAGE);
    dsm_put32(host->out, wish->number);
    dsm_put64(host->out, wish->id);
    dsm_put16(host->out, wish->count);
    for (uint32_t i = 0; i < wish->count; i++) {
        const struct dsm_page *page = dsm_page_there(host, wish->id + i);
        dsm_put32(host->out, page->epoch);
        dsm_put32(host->out, page->changes);
    }
    for (uint32_t i = 0; i < wish->count; i++) {
        const struct dsm_page *page = dsm_page_there(host, wish->id + i);
        bool lent = is_lent(host, page); /* LENT */
        dsm_page_act(host, lent ? DSM_ACT_PAYLOAD_TWINS : DSM_ACT_PAYLOAD_PAGES, page);
    }
    dsm_sent(host->out, message, host->out->nactions - message - 1);
}

/* Where it lives as far as is known here. While it is handed over that is here: the heir may not
 * take it (move.c). */
static uint32_t told_home(const struct dsm_host *host, const struct dsm_page *page) {
    return page->flags & DSM_HANDING ? host->config.host : page->home;
}

static uint32_t told_epoch(const struct dsm_page *page) {
    bool handing = page->flags & DSM_HANDING;
    return page->epoch - handing;
}

static void point_elsewhere(struct dsm_host *host, const struct wish *wish) {
    for (uint32_t i = 0; i < wish->count; i++) {
        const struct dsm_page *page = dsm_page_find(host, wish->id + i);
        uint32_t message = dsm_send(host->out, wish->from, wish->channel, DSM_MSG_MOVED);
        dsm_put32(host->out, wish->number);
        dsm_put64(host->out, wish->id + i);
        dsm_put16(host->out, told_home(host, page));
        dsm_put32(host->out, told_epoch(page));
        dsm_sent(host->out, message, 0);
    }
}

int dsm_home_on_get(struct dsm_host *host, uint32_t from, struct dsm_cursor *cursor) {
    struct wish wish = {.from = from, .channel = host->event->client};
    wish.number = dsm_get32(cursor);
    wish.id = dsm_get64(cursor);
    uint32_t first = (uint32_t)wish.id, count = dsm_get16(cursor);
    const struct dsm_region *region = dsm_region_find(host, wish.id >> 32);
    if (!dsm_cursor_done(cursor) || count == 0 || count > DSM_CHUNK) return DSM_E_PEER;
    if (!region || region->state != DSM_REGION_READY) return DSM_OK; /* who asks has left it, too */
    if ((uint64_t)first + count > region->pages) return DSM_E_PEER;
    for (uint32_t i = 0; i < count; i++)
        if (place_of(host, region, first + i) == DSM_NO_HOST) return DSM_E_PEER;
    if (!dsm_arena_room(&host->arena, dsm_page_room(host, wish.id, count))) return DSM_E_MEMORY;
    for (uint32_t done = 0; done < count; done += wish.count) {
        bool here = place_of(host, region, first + done) == host->config.host;
        wish.id = (uint64_t)region->id << 32 | (first + done);
        wish.count = 1;
        while (done + wish.count < count &&
               (place_of(host, region, first + done + wish.count) == host->config.host) == here)
            wish.count++;
        if (here)
            give_copies(host, &wish);
        else
            point_elsewhere(host, &wish);
    }
    return DSM_OK;
}

/* ---- applying diffs ---------------------------------------------------------------------- */

/* A page that this host claims and that another already takes to be at home here: the master has
 * said so, its answer is only slower than the loser's diff. */
static bool is_won(const struct dsm_page *page) {
    return page->flags & DSM_CLAIMED && page->state == DSM_DIRTY && page->home == DSM_NO_HOST;
}

static uint32_t diff_place(const struct dsm_host *host, const struct dsm_region *region,
                           uint32_t index) {
    const struct dsm_page *page = dsm_page_known(host, region, index);
    if (page && is_won(page)) return host->config.host;
    uint32_t home = place_of(host, region, index);
    bool apply = page && page->state == DSM_CLEAN && !DSM_RULE_ON(host, DSM_RULE_FORWARD);
    return apply ? host->config.host : home; /* JUMP's lost update, for the mutation build */
}

/* One diff of a DIFF message, and what the answer will say: DACK, or `home` and ELSEWHERE. */
struct sent_diff {
    uint64_t id;
    uint32_t number, off, len, epoch, changes, home;
};

/* May it be applied, or is it known where? */
static int judge_diff(const struct dsm_host *host, const struct sent_diff *diff, uint64_t *room) {
    const uint8_t *bytes = host->event->bytes + diff->off;
    const struct dsm_region *region = dsm_region_find(host, diff->id >> 32);
    if (!dsm_diff_sound(bytes, diff->len, host->config.page_size)) return DSM_E_PEER;
    if (!region || region->state != DSM_REGION_READY) return DSM_OK;
    if ((uint32_t)diff->id >= region->pages) return DSM_E_PEER;
    if (diff_place(host, region, (uint32_t)diff->id) == DSM_NO_HOST) return DSM_E_PEER;
    *room += dsm_page_room(host, diff->id, 1);
    return DSM_OK;
}

static void apply_diff(struct dsm_host *host, struct dsm_page *page, const struct sent_diff *diff) {
    if (is_won(page)) {
        page->home = (uint16_t)host->config.host;
        page->state = DSM_HOME_DIRTY;
    }
    dsm_page_settle_in(host, page);
    dsm_page_came(host, page);
    if (dsm_at_home(page)) protect_home(host, page);
    struct dsm_action *action = dsm_act(host->out, DSM_ACT_APPLY);
    action->id = dsm_page_id(host, page);
    action->off = diff->off;
    action->len = diff->len;
    /* Opened, bound: what others write there is no change of ours. */
    uint32_t twinned = DSM_OPENED | (DSM_RULE_ON(host, DSM_RULE_APART) ? DSM_HOME_TWIN : 0);
    action->flag = page->state == DSM_HOME_DIRTY && page->run & twinned;
    page->changes++;
}

/* A page whose region is gone needs no change. */
static void settle_diff(struct dsm_host *host, struct sent_diff *diff) {
    const struct dsm_region *region = dsm_region_find(host, diff->id >> 32);
    diff->home = host->config.host;
    if (!region || region->state != DSM_REGION_READY) return;
    diff->home = diff_place(host, region, (uint32_t)diff->id);
    struct dsm_page *page = dsm_page_find(host, diff->id);
    if (diff->home == host->config.host) apply_diff(host, page, diff);
    diff->epoch = told_epoch(page);
    diff->changes = page->changes;
}

/* Answer those that were applied here, or those that were not. */
static void answer_diffs(struct dsm_host *host, const struct sent_diff *diffs, uint32_t n,
                         uint32_t to, bool applied) {
    uint32_t answered = 0, self = host->config.host;
    uint32_t type = applied ? DSM_MSG_DACK : DSM_MSG_ELSEWHERE;
    for (uint32_t i = 0; i < n; i++)
        answered += (diffs[i].home == self) == applied;
    if (!answered) return;
    uint32_t message = dsm_send(host->out, to, DSM_BULK, type);
    dsm_put16(host->out, answered);
    for (uint32_t i = 0; i < n; i++) {
        if ((diffs[i].home == self) != applied) continue;
        const struct dsm_page *page = dsm_page_there(host, diffs[i].id);
        dsm_put64(host->out, diffs[i].id);
        dsm_put32(host->out, diffs[i].number);
        if (!applied) dsm_put16(host->out, told_home(host, page));
        dsm_put32(host->out, diffs[i].epoch);
        if (applied) dsm_put32(host->out, diffs[i].changes);
    }
    dsm_sent(host->out, message, 0);
}

int dsm_home_on_diff(struct dsm_host *host, uint32_t from, struct dsm_cursor *cursor) {
    uint32_t n = dsm_get16(cursor);
    if (cursor->bad || n == 0 || n > DSM_SLICE) return DSM_E_PEER;
    if ((uint64_t)(cursor->end - cursor->at) < (uint64_t)n * 16) return DSM_E_PEER;
    struct sent_diff diffs[DSM_SLICE];
    uint64_t room = 0, off = (uint64_t)(cursor->at - host->event->bytes) + n * 16;
    for (uint32_t i = 0; i < n; i++) {
        diffs[i] = (struct sent_diff){.id = dsm_get64(cursor), .off = (uint32_t)off};
        diffs[i].number = dsm_get32(cursor);
        diffs[i].len = dsm_get32(cursor);
        off += diffs[i].len;
        if (off > host->event->len) return DSM_E_PEER;
        int status = judge_diff(host, &diffs[i], &room);
        if (status != DSM_OK) return status;
    }
    if (off != host->event->len) return DSM_E_PEER;
    if (!dsm_arena_room(&host->arena, room)) return DSM_E_MEMORY;
    for (uint32_t i = 0; i < n; i++)
        settle_diff(host, &diffs[i]);
    answer_diffs(host, diffs, n, from, true);
    answer_diffs(host, diffs, n, from, false);
    return DSM_OK;
}

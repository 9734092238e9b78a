/* What a home does: it gives copies of its pages and applies the diffs of others to them.
 *
 * Invariants.
 *   4  what reaches a host that is no longer the page's home is passed on to where that host gave
 *      it, on the connection by which it gave it (bulk): it arrives behind the gift
 *   8  a home page is protected in all local processes before another host gets its first copy
 *  12  `changes` counts what changed a home page: diffs applied, own publishes that wrote it
 */
#include "core/host.h"

void dsm_page_settle_in(struct dsm_host *host, struct dsm_page *page) {
    if (page->state != DSM_ZERO || page->home != host->config.host) return;
    dsm_page_act(host, DSM_ACT_ZERO, page);
    page->state = DSM_HOME;
    page->changes = 1;
}

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
    const struct dsm_page *page = dsm_page_known(host, region, index);
    if (page && page->state == DSM_LOST) return DSM_NO_HOST;
    return dsm_page_home(host, region, index);
}

/* ---- giving copies ----------------------------------------------------------------------- */

/* A GET that concerns several homes is answered in parts. */
struct wish {
    uint32_t origin, number;
    uint64_t id;
    uint32_t count;
    uint32_t from;    /* who sent or passed it on */
    uint32_t channel; /* for the answer */
    bool returned;    /* it was here before */
};

static void send_pages(struct dsm_host *host, const struct wish *wish) {
    uint32_t message = dsm_send(host->out, wish->origin, wish->channel, DSM_MSG_PAGE);
    dsm_put32(host->out, wish->number);
    dsm_put64(host->out, wish->id);
    dsm_put16(host->out, wish->count);
    for (uint32_t i = 0; i < wish->count; i++) {
        const struct dsm_page *page = dsm_page_find(host, wish->id + i);
        dsm_put32(host->out, page->epoch);
        dsm_put32(host->out, page->changes);
    }
    dsm_sent(host->out, message, 1);
    struct dsm_action *payload = dsm_act(host->out, DSM_ACT_PAYLOAD_PAGES);
    payload->id = wish->id;
    payload->count = wish->count;
}

static void give_copies(struct dsm_host *host, const struct wish *wish) {
    for (uint32_t i = 0; i < wish->count; i++) {
        struct dsm_page *page = dsm_page_find(host, wish->id + i);
        dsm_page_settle_in(host, page);
        if (DSM_RULE_ON(host, DSM_RULE_FETCHED)) protect_home(host, page); /* 8 */
    }
    send_pages(host, wish);
}

static void put_wish(struct dsm_host *host, const struct wish *wish) {
    dsm_put32(host->out, wish->number);
    dsm_put64(host->out, wish->id);
    dsm_put16(host->out, wish->count);
}

static void pass_on_get(struct dsm_host *host, const struct wish *wish, uint32_t home) {
    uint32_t message;
    if (dsm_is_lost(host, home)) {
        message = dsm_send(host->out, wish->origin, DSM_FAST, DSM_MSG_GONE);
        put_wish(host, wish);
        dsm_put16(host->out, home);
    } else {
        message = dsm_send(host->out, home, DSM_BULK, DSM_MSG_GET_FOR);
        dsm_put16(host->out, wish->origin | (wish->returned ? DSM_RETURNED : 0));
        put_wish(host, wish);
    }
    dsm_sent(host->out, message, 0);
}

/* We do not know the page: it was not handed to us after all. Where it went back to, it is known,
 * or its region has ended. */
static int return_wish(struct dsm_host *host, struct wish wish) {
    bool back = wish.from != wish.origin && !wish.returned;
    wish.returned = true;
    if (back) pass_on_get(host, &wish, wish.from);
    return DSM_OK;
}

static int serve_wish(struct dsm_host *host, struct wish wish, const struct dsm_cursor *cursor) {
    const struct dsm_region *region = dsm_region_find(host, wish.id >> 32);
    uint32_t first = (uint32_t)wish.id, count = wish.count;
    if (!dsm_cursor_done(cursor) || count == 0 || count > DSM_CHUNK) return DSM_E_PEER;
    if (!region || region->state != DSM_REGION_READY) return return_wish(host, wish);
    if ((uint64_t)first + count > region->pages) return DSM_E_PEER;
    for (uint32_t i = 0; i < count; i++)
        if (place_of(host, region, first + i) == DSM_NO_HOST)
            return wish.from == wish.origin ? DSM_E_PEER : return_wish(host, wish);
    if (!dsm_arena_room(&host->arena, dsm_page_room(host, wish.id, count))) return DSM_E_MEMORY;
    for (uint32_t done = 0; done < count; done += wish.count) {
        uint32_t home = place_of(host, region, first + done);
        wish.id = (uint64_t)region->id << 32 | (first + done);
        wish.count = 1;
        wish.returned = false;
        while (done + wish.count < count &&
               place_of(host, region, first + done + wish.count) == home)
            wish.count++;
        if (home != host->config.host)
            pass_on_get(host, &wish, home);
        else if (wish.origin != home) /* else it was handed to us meanwhile */
            give_copies(host, &wish);
    }
    return DSM_OK;
}

static struct wish get_wish(const struct dsm_host *host, struct dsm_cursor *cursor, uint32_t from,
                            uint32_t origin) {
    struct wish wish = {.origin = origin & ~(uint32_t)DSM_RETURNED,
                        .number = dsm_get32(cursor),
                        .from = from,
                        .channel = from == origin ? host->event->client : DSM_FAST,
                        .returned = origin & DSM_RETURNED};
    wish.id = dsm_get64(cursor);
    wish.count = dsm_get16(cursor);
    return wish;
}

int dsm_page_on_get(struct dsm_host *host, uint32_t from, struct dsm_cursor *cursor) {
    return serve_wish(host, get_wish(host, cursor, from, from), cursor);
}

int dsm_page_on_get_for(struct dsm_host *host, uint32_t from, struct dsm_cursor *cursor) {
    uint32_t origin = dsm_get16(cursor);
    struct wish wish = get_wish(host, cursor, from, origin);
    if (cursor->bad || wish.origin >= DSM_MAX_HOSTS) return DSM_E_PEER;
    if (dsm_is_lost(host, wish.origin)) return DSM_OK;
    return serve_wish(host, wish, cursor);
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

/* One diff of a DIFF or DIFF_FOR message, and what its DACK will say. */
struct sent_diff {
    uint64_t id;
    uint32_t number, off, len, epoch, changes;
};

/* May it be applied or passed on here? */
static int judge_diff(const struct dsm_host *host, const struct sent_diff *diff, uint64_t *room) {
    const uint8_t *bytes = host->event->bytes + diff->off;
    const struct dsm_region *region = dsm_region_find(host, diff->id >> 32);
    /* An empty diff only asks for its acknowledgement. */
    if (diff->len && !dsm_diff_sound(bytes, diff->len, host->config.page_size)) return DSM_E_PEER;
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
    if (dsm_at_home(page)) protect_home(host, page);
    if (!diff->len) return;
    struct dsm_action *action = dsm_act(host->out, DSM_ACT_APPLY);
    action->id = dsm_page_id(host, page);
    action->off = diff->off;
    action->len = diff->len;
    /* Opened, bound: what others write there is no change of ours. */
    uint32_t twinned = DSM_OPENED | (DSM_RULE_ON(host, DSM_RULE_APART) ? DSM_HOME_TWIN : 0);
    action->flag = page->state == DSM_HOME_DIRTY && page->run & twinned;
    page->changes++;
}

static void pass_on_diff(struct dsm_host *host, const struct sent_diff *diff, uint32_t home,
                         uint32_t origin) {
    uint32_t message = dsm_send(host->out, home, DSM_BULK, DSM_MSG_DIFF_FOR);
    dsm_put16(host->out, origin);
    dsm_put64(host->out, diff->id);
    dsm_put32(host->out, diff->number);
    dsm_put32(host->out, diff->len);
    dsm_sent(host->out, message, 1);
    struct dsm_action *payload = dsm_act(host->out, DSM_ACT_PAYLOAD_EVENT);
    payload->off = diff->off;
    payload->len = diff->len;
}

/* True: it is settled here. A page whose home is lost, or whose region is gone, needs no change. */
static bool settle_diff(struct dsm_host *host, struct sent_diff *diff, uint32_t origin) {
    const struct dsm_region *region = dsm_region_find(host, diff->id >> 32);
    if (!region || region->state != DSM_REGION_READY) return true;
    uint32_t home = diff_place(host, region, (uint32_t)diff->id);
    if (home == host->config.host) {
        struct dsm_page *page = dsm_page_find(host, diff->id);
        apply_diff(host, page, diff);
        diff->epoch = page->epoch;
        diff->changes = page->changes;
    } else if (!dsm_is_lost(host, home)) {
        pass_on_diff(host, diff, home, origin);
        return false;
    }
    return true;
}

static void settle_diffs(struct dsm_host *host, struct sent_diff *diffs, uint32_t n,
                         uint32_t origin) {
    uint32_t settled = 0;
    for (uint32_t i = 0; i < n; i++)
        if (settle_diff(host, &diffs[i], origin)) diffs[settled++] = diffs[i];
    if (!settled) return;
    uint32_t message = dsm_send(host->out, origin, DSM_BULK, DSM_MSG_DACK);
    dsm_put16(host->out, settled);
    for (uint32_t i = 0; i < settled; i++) {
        dsm_put64(host->out, diffs[i].id);
        dsm_put32(host->out, diffs[i].number);
        dsm_put32(host->out, diffs[i].epoch);
        dsm_put32(host->out, diffs[i].changes);
    }
    dsm_sent(host->out, message, 0);
}

int dsm_page_on_diff(struct dsm_host *host, uint32_t from, struct dsm_cursor *cursor) {
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
    settle_diffs(host, diffs, n, from);
    return DSM_OK;
}

/* Our own diff: the host that we sent it to had just handed us the page, which we did not take
 * because of this diff. That host is its home again. */
static int came_back(struct dsm_host *host, const struct sent_diff *diff) {
    struct dsm_page *page = dsm_page_there(host, diff->id);
    if (!page || !(page->flags & DSM_UNACKED) || page->diff != diff->number) return DSM_OK;
    if (dsm_at_home(page)) return DSM_E_PEER;
    if (dsm_is_lost(host, page->home))
        dsm_page_acked(host, page);
    else
        pass_on_diff(host, diff, page->home, host->config.host);
    return DSM_OK;
}

static bool is_placed(const struct dsm_host *host, uint64_t id) {
    const struct dsm_region *region = dsm_region_find(host, id >> 32);
    if (!region || region->state != DSM_REGION_READY) return false;
    return (uint32_t)id >= region->pages || place_of(host, region, (uint32_t)id) != DSM_NO_HOST;
}

int dsm_page_on_diff_for(struct dsm_host *host, uint32_t from, struct dsm_cursor *cursor) {
    uint32_t origin = dsm_get16(cursor);
    struct sent_diff diff = {.id = dsm_get64(cursor)};
    uint64_t room = 0;
    diff.number = dsm_get32(cursor);
    diff.len = dsm_get32(cursor);
    bool returned = origin & DSM_RETURNED;
    origin &= ~(uint32_t)DSM_RETURNED;
    if (cursor->bad || origin >= DSM_MAX_HOSTS) return DSM_E_PEER;
    diff.off = (uint32_t)(cursor->at - host->event->bytes);
    if (diff.len != (uint64_t)(cursor->end - cursor->at)) return DSM_E_PEER;
    if (!is_placed(host, diff.id)) { /* as for a GET */
        if (!returned && !dsm_is_lost(host, from))
            pass_on_diff(host, &diff, from, origin | DSM_RETURNED);
        return DSM_OK;
    }
    int status = judge_diff(host, &diff, &room);
    if (status != DSM_OK) return status;
    if (!dsm_arena_room(&host->arena, room)) return DSM_E_MEMORY;
    if (origin == host->config.host) return came_back(host, &diff);
    if (dsm_is_lost(host, origin)) return DSM_OK; /* it announced nothing of it */
    settle_diffs(host, &diff, 1, origin);
    return DSM_OK;
}

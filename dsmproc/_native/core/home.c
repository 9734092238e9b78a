/* What a home does: it gives copies of its pages and applies the diffs of others to them.
 *
 * Rule 8: a home page is protected in all local processes before another host gets its first copy.
 */
#include "core/host.h"

static bool is_home(const struct dsm_page *page) {
    return page->state >= DSM_HOME && page->state <= DSM_HOME_PRIVATE;
}

void dsm_page_settle_in(struct dsm_host *host, struct dsm_page *page) {
    if (page->state != DSM_ZERO || page->home != host->config.host) return;
    dsm_page_act(host, DSM_ACT_ZERO, page);
    page->state = DSM_HOME;
}

static void protect_home(struct dsm_host *host, struct dsm_page *page) {
    if (page->state == DSM_HOME_PRIVATE) {
        dsm_page_act(host, DSM_ACT_PROTECT, page);
        page->state = DSM_HOME;
    }
    page->flags |= DSM_HELD;
}

/* Would a GET or DIFF of this page be right here? Looks without making a record. */
static bool lives_here(const struct dsm_host *host, const struct dsm_region *region,
                       uint32_t index) {
    const struct dsm_page *page = dsm_page_known(host, region, index);
    if (page && page->state != DSM_ZERO) return is_home(page);
    return dsm_page_home(host, region, index) == host->config.host;
}

int dsm_page_on_get(struct dsm_host *host, uint32_t from, struct dsm_cursor *cursor) {
    uint32_t number = dsm_get32(cursor);
    uint64_t id = dsm_get64(cursor);
    uint32_t count = dsm_get16(cursor);
    const struct dsm_region *region = dsm_region_find(host, id >> 32);
    if (!dsm_cursor_done(cursor) || count == 0 || count > DSM_CHUNK) return DSM_E_PEER;
    if (!region || region->state != DSM_REGION_READY) return DSM_OK; /* dropped: nobody waits */
    if ((uint64_t)(uint32_t)id + count > region->pages) return DSM_E_PEER;
    for (uint32_t i = 0; i < count; i++)
        if (!lives_here(host, region, (uint32_t)id + i)) return DSM_E_PEER;
    uint32_t epoch = dsm_page_find(host, id)->epoch;
    for (uint32_t i = 0; i < count; i++) {
        struct dsm_page *page = dsm_page_find(host, id + i);
        dsm_page_settle_in(host, page);
        if (DSM_RULE_ON(host, DSM_RULE_FETCHED)) protect_home(host, page); /* 8 */
    }
    uint32_t message = dsm_send(host->out, from, host->event->client, DSM_MSG_PAGE);
    dsm_put32(host->out, number);
    dsm_put64(host->out, id);
    dsm_put16(host->out, count);
    dsm_put32(host->out, epoch);
    dsm_sent(host->out, message, 1);
    struct dsm_action *payload = dsm_act(host->out, DSM_ACT_PAYLOAD_PAGES);
    payload->id = id;
    payload->count = count;
    return DSM_OK;
}

/* ---- the home's side of diffs ------------------------------------------------------------ */

/* A page that this host claims and that another already takes to be at home here: the master has
 * said so, its answer is only slower than the loser's diff. */
static bool is_won(const struct dsm_page *page) {
    return page->flags & DSM_CLAIMED && page->state == DSM_DIRTY && page->home == DSM_NO_HOST;
}

static bool takes_diff(const struct dsm_host *host, const struct dsm_region *region,
                       uint32_t index) {
    const struct dsm_page *page = dsm_page_known(host, region, index);
    return lives_here(host, region, index) || (page && is_won(page));
}

/* n x (page, epoch, length), then the diffs: may all of them be applied here, and is there room? */
static int judge_diffs(const struct dsm_host *host, struct dsm_cursor cursor, uint32_t n) {
    if ((uint64_t)(cursor.end - cursor.at) < (uint64_t)n * 16) return DSM_E_PEER;
    const uint8_t *diff = cursor.at + (uint64_t)n * 16;
    uint64_t room = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint64_t id = dsm_get64(&cursor);
        dsm_get32(&cursor);
        uint32_t len = dsm_get32(&cursor);
        const struct dsm_region *region = dsm_region_find(host, id >> 32);
        if (len > (uint64_t)(cursor.end - diff)) return DSM_E_PEER;
        if (!dsm_diff_sound(diff, len, host->config.page_size)) return DSM_E_PEER;
        diff += len;
        if (!region || region->state != DSM_REGION_READY) continue;
        if ((uint32_t)id >= region->pages || !takes_diff(host, region, (uint32_t)id))
            return DSM_E_PEER;
        room += dsm_page_room(host, id, 1);
    }
    if (diff != cursor.end) return DSM_E_PEER;
    return dsm_arena_room(&host->arena, room) ? DSM_OK : DSM_E_MEMORY;
}

static void apply_diff(struct dsm_host *host, struct dsm_page *page, uint32_t off, uint32_t len) {
    if (is_won(page)) {
        page->home = (uint16_t)host->config.host;
        page->state = DSM_HOME_DIRTY;
    }
    dsm_page_settle_in(host, page);
    protect_home(host, page);
    struct dsm_action *action = dsm_act(host->out, DSM_ACT_APPLY);
    action->id = dsm_page_id(host, page);
    action->off = off;
    action->len = len;
    /* Opened: what others write there is no change of ours. */
    action->flag = page->state == DSM_HOME_DIRTY && page->run & DSM_OPENED;
}

int dsm_page_on_diff(struct dsm_host *host, uint32_t from, struct dsm_cursor *cursor) {
    uint32_t n = dsm_get16(cursor);
    if (cursor->bad || n == 0 || n > DSM_SLICE) return DSM_E_PEER;
    int status = judge_diffs(host, *cursor, n);
    if (status != DSM_OK) return status;
    uint32_t off = (uint32_t)(cursor->at - host->event->bytes) + n * 16;
    uint64_t ids[DSM_SLICE];
    for (uint32_t i = 0; i < n; i++) {
        ids[i] = dsm_get64(cursor);
        dsm_get32(cursor);
        uint32_t len = dsm_get32(cursor);
        struct dsm_page *page = dsm_page_find(host, ids[i]);
        if (page) apply_diff(host, page, off, len);
        off += len;
    }
    uint32_t message = dsm_send(host->out, from, DSM_BULK, DSM_MSG_DACK);
    dsm_put16(host->out, n);
    for (uint32_t i = 0; i < n; i++)
        dsm_put64(host->out, ids[i]);
    dsm_sent(host->out, message, 0);
    return DSM_OK;
}

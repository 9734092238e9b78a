/* Runs: what one fault brings for the pages behind it, within the reach of its row (rows.c).
 *
 * Reads bring copies and mappings, writes *open* pages: they are dirty and writable without having
 * been written, and are looked at before they are published (look.c).
 *
 * A row upwards at its full length also asks *ahead*: once it has used some, for the pages of its
 * chunk that live at other homes, and when it has used config.ahead pages, for half of what it
 * used, at most config.ahead behind what its fault brought. Who works on a band of an array does
 * not want the next band, which another host may be writing. Such copies come on the bulk
 * connection and are mapped by a fault of their own, so that it is known which were used: one that
 * is thrown away unused is not asked for again by anything but a fault of its own. Where that fault
 * is quicker than the network, all that comes with its page is brought, and the row goes on behind
 * it.
 */
#include "core/host/host.h"

enum { SOME = 3 }; /* pages that a row has used before it asks ahead */

/* ---- reading ahead ----------------------------------------------------------------------- */

static bool is_wanted(const struct dsm_host *host, const struct dsm_page *page) {
    return page && page->state == DSM_ABSENT && !(page->flags & DSM_UNACKED) &&
           !(page->run & DSM_SHY) && !dsm_is_lost(host, page->home) &&
           !dsm_page_is_homeless(host, page);
}

/* Where the pages end that this fault's row wants. In its own chunk that may be more than the fault
 * brought: what lives at other homes. */
static uint64_t wanted_end(const struct dsm_host *host, const struct dsm_row *row) {
    uint64_t used = row->last - row->first, most = host->config.ahead;
    uint64_t end = row->last + row->length, chunk = (row->last | (DSM_CHUNK - 1)) + 1;
    if (used < SOME) return row->next;
    if (used < most) return end < chunk ? end : chunk;
    return row->next + (used / 2 < most ? used / 2 : most);
}

void dsm_run_ahead(struct dsm_host *host, const struct dsm_region *region) {
    const struct dsm_row *row = host->row;
    if (!row || row->down || !row->goes_on || row->length < host->config.most) return;
    uint64_t index = (uint32_t)row->next, end = (uint32_t)wanted_end(host, row);
    if (end > region->pages) end = region->pages;
    for (uint32_t count; index < end; index += count) {
        struct dsm_page *page = dsm_page_known(host, region, (uint32_t)index);
        count = page ? 1 : DSM_CHUNK - (uint32_t)index % DSM_CHUNK; /* the chunk is all zero */
        if (!is_wanted(host, page)) continue;
        uint32_t room = dsm_row_room(host, page, (uint32_t)(end - index));
        while (count < room && is_wanted(host, &page[count]) && page[count].home == page->home)
            count++;
        for (uint32_t i = 0; i < count; i++)
            page[i].run |= DSM_AHEAD;
        dsm_page_get(host, page, count, DSM_BULK);
    }
}

/* ---- opening ----------------------------------------------------------------------------- */

static bool opens_with(const struct dsm_host *host, const struct dsm_page *first,
                       const struct dsm_page *page) {
    if (page->state != first->state || page->flags & (DSM_UNACKED | DSM_CLAIMED | DSM_HANDING))
        return false;
    if (page->state == DSM_ZERO && page->home == host->config.host) return false;
    if (dsm_feed_twins(host, page)) return false;
    return !(page->run & DSM_VAIN) || first->run & DSM_VAIN;
}

/* Narrow the run to the page and its likes beside it. */
static void narrow(const struct dsm_host *host, const struct dsm_page *page, struct dsm_run *run) {
    struct dsm_run reached = *run;
    *run = (struct dsm_run){page->index, page->index + 1};
    while (run->first > reached.first &&
           opens_with(host, page, page - (page->index - run->first) - 1))
        run->first--;
    while (run->end < reached.end && opens_with(host, page, page + (run->end - page->index)))
        run->end++;
}

struct dsm_run dsm_run_open(struct dsm_host *host, struct dsm_page *page, int32_t reach) {
    uint32_t before = page->state;
    bool home = before == DSM_HOME;
    struct dsm_run run = dsm_row_reached(host, page, reach);
    narrow(host, page, &run);
    struct dsm_page *first = page - (page->index - run.first);
    struct dsm_page *end = page + (run.end - page->index);
    for (struct dsm_page *at = first; at < end; at++) {
        if (before == DSM_ZERO) dsm_page_act(host, DSM_ACT_ZERO, at);
        if (before == DSM_CLEAN || (home && (at != page || dsm_feed_twins(host, at))))
            dsm_page_act(host, DSM_ACT_TWIN, at);
    }
    uint64_t id = dsm_page_id(host, first);
    dsm_row_brought(host, id, id + (run.end - run.first));
    for (struct dsm_page *at = first; at < end; at++) {
        at->state = home ? DSM_HOME_DIRTY : DSM_DIRTY;
        at->run &= (uint8_t) ~(DSM_VAIN | DSM_AHEAD | DSM_BARE);
        if (at != page) at->run |= DSM_OPENED;
        if (before == DSM_ZERO) at->run |= DSM_BARE;
        if (home && dsm_feed_twins(host, at)) at->run |= DSM_HOME_TWIN;
        dsm_page_dirtied(host, at);
    }
    return run;
}

/* Runs: a write fault opens the pages behind it, within the reach of its row (rows.c): they are
 * dirty and writable without having been written, and are looked at before they are published
 * (look.c).
 */
#include "core/host/host.h"

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

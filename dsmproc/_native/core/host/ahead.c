/* Reading ahead: what a row of faults will want next (rows.c).
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

void dsm_ahead_ask(struct dsm_host *host, const struct dsm_region *region) {
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

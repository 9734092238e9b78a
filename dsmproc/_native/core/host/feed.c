/* Fed pages: what a home's steady readers fetch after each of its publishes travels with the
 * notice.
 *
 * A band of a grid is written by one host, and its edge rows are read by the next one in every
 * iteration. There each publish is followed by an invalidation, a fault and a fetch, one after the
 * other, of the same page as before. A home that sees this (its page was fetched again after each
 * of the last `feed` notices) treats the page as a bound one (bound.c): it keeps a twin while the
 * page is written, and the notice takes the diff along, so that the reader's copy is current when
 * it is let go. It is Munin's producer-consumer protocol, found out instead of declared.
 *
 *   LEARNING ──fetched after each of `feed` notices──► FED ──EVERY notices with bytes──► ASKING
 *      ▲                                                ▲                                   │
 *      └───────────nobody fetched it───────────────────(or fetched)◄──one plain notice──────┘
 *
 * Invariants.
 *   a  it is a hint: whom the bytes are for (`reader`) and whether they go along decides what is
 *      sent, never what a host may read; who is not told the bytes is told the page's name. Which
 *      bytes, and why they are all that is to be announced: bound.c, 18
 *   b  the master passes all of it on, so it is for few pages: at most FEW are given away between
 *      two publishes where a page is to become fed, and at most FEW are carried by one publish
 *   c  only the home feeds, under lazy release consistency and the adaptive policy
 */
#include "core/host/host.h"

enum { FEW = 8, EVERY = 16 };

/* `fed` counts notices: below `feed` those that were followed by a fetch, then those with bytes. */
static bool is_fed(const struct dsm_host *host, const struct dsm_page *page) {
    return host->config.feed && dsm_at_home(page) && page->fed >= host->config.feed;
}

static bool may_feed(const struct dsm_host *host, const struct dsm_page *page) {
    const struct dsm_region *region = dsm_at(host, page->region);
    return host->config.feed && host->config.carry && host->config.model == DSM_LRC &&
           region->policy == DSM_HOME_ADAPTIVE;
}

void dsm_feed_given(struct dsm_host *host, struct dsm_page *page, uint32_t to) {
    if (host->given <= FEW) host->given++;
    if (!page->asked && !is_fed(host, page)) page->reader = (uint16_t)to;
    if (page->reader != to) page->reader = DSM_NO_HOST; /* several: for all */
    page->asked = 1;
}

void dsm_feed_publish(struct dsm_host *host) {
    host->few = host->given <= FEW;
    host->given = host->feeding = 0;
}

void dsm_feed_noticed(struct dsm_host *host, struct dsm_page *page) {
    if (is_fed(host, page) && page->fed == host->config.feed + EVERY) return; /* ASKING */
    bool again = page->asked && host->few && may_feed(host, page);
    page->fed = (uint8_t)(again ? page->fed + 1U : 0);
    if (page->fed > host->config.feed) page->fed = (uint8_t)host->config.feed;
    page->asked = 0;
}

bool dsm_feed_twins(const struct dsm_host *host, const struct dsm_page *page) {
    return page->run & DSM_BOUND || is_fed(host, page);
}

bool dsm_feed_carries(struct dsm_host *host, struct dsm_page *page, uint32_t len) {
    if (!is_fed(host, page)) return false;
    uint32_t asking = host->config.feed + EVERY;
    if (page->fed == asking) {
        page->fed = (uint8_t)(page->asked ? host->config.feed : 0);
        if (!page->fed) return false;
    }
    if (++page->fed == asking) {
        page->asked = 0;
        return false;
    }
    return len <= host->config.page_size + DSM_DIFF_RUN_HEAD + 1 && host->feeding++ < FEW;
}

uint32_t dsm_feed_reader(const struct dsm_host *host, const struct dsm_page *page) {
    return is_fed(host, page) && !(page->run & DSM_BOUND) ? page->reader : DSM_NO_HOST;
}

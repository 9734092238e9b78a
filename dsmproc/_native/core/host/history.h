/* What homeless.c, keep.c and collect.c know of a page beside its record. */
#ifndef DSM_CORE_HOST_HISTORY_H
#define DSM_CORE_HOST_HISTORY_H
#include "core/host/state.h"

struct dsm_source { /* another host that has written the page, and its intervals */
    dsm_ref next;
    uint16_t host;
    uint8_t asked, unused;
    uint32_t need; /* the newest one that was announced */
    uint32_t have; /* the newest one whose diff is in the copy */
    uint32_t got;  /* ... or waits in `came` */
};

struct dsm_kept { /* a diff */
    dsm_ref next;
    uint16_t host, unused;
    uint32_t interval, len;
    uint64_t tag;
    uint8_t bytes[];
};

struct dsm_history { /* host->histories */
    uint64_t page;
    dsm_ref sources;
    struct dsm_queue own;  /* kept here, the oldest first */
    struct dsm_queue came; /* of others, in the order of (tag, host, interval), not applied yet */
    uint32_t asked;        /* answers that are awaited */
    uint32_t mine;         /* own diffs of later intervals are not in the copy */
    uint32_t collected;    /* own diffs up to this interval are in the base, and not kept here */
    uint16_t base;         /* is asked for its copy */
    uint16_t collector;    /* is asked to take the diffs in, or to become the base */
    uint8_t wants_base;    /* a writer has its diffs no more */
    uint8_t fresh;         /* the base was taken, and no host was lost since it was asked */
    uint8_t outdated;      /* ... but since the one that is under way was */
    uint8_t adopted;       /* `collector` becomes the base */
};

/* What BASE says. */
enum { DSM_BASE_HERE = 0, DSM_BASE_ELSEWHERE = 1, DSM_BASE_LOST = 2 };

static inline struct dsm_history *dsm_history_of(const struct dsm_host *host, uint64_t page) {
    dsm_ref ref = dsm_map_get(&host->arena, &host->histories, page);
    return ref ? dsm_at(host, ref) : NULL;
}

struct dsm_collector { /* of host->collectors */
    dsm_ref next;
    uint16_t host;
    uint8_t adopt, unused;
    uint32_t epoch; /* adopt: the base's before this host becomes it */
    uint64_t page, stamp;
    uint64_t observe; /* the number of the OBSERVE after which the stamp is seen at the latest */
};

struct dsm_history *dsm_history_make(struct dsm_host *host, uint64_t page);
/* Most memory that `n` new ones may need. */
uint64_t dsm_history_room(const struct dsm_host *host, uint32_t n);
/* For one more diff, beside its bytes. */
uint64_t dsm_history_keep_room(const struct dsm_host *host);
struct dsm_source *dsm_history_source(const struct dsm_host *host,
                                      const struct dsm_history *history, uint32_t who);
struct dsm_source *dsm_history_make_source(struct dsm_host *host, struct dsm_history *history,
                                           uint32_t who);
/* Was something announced that is not in the copy? */
bool dsm_history_behind(const struct dsm_host *host, const struct dsm_history *history);
/* The newest interval of that host that was announced here. */
uint32_t dsm_history_told(const struct dsm_host *host, uint64_t page, uint32_t who);
/* With which host was it lost? */
uint32_t dsm_history_culprit(const struct dsm_host *host, const struct dsm_page *page);
/* Its bytes, into what this step sends. */
void dsm_history_put(struct dsm_host *host, const struct dsm_kept *kept);
void dsm_history_free(struct dsm_host *host, dsm_ref ref);
/* Own diffs up to this interval are needed no more. */
void dsm_history_drop(struct dsm_host *host, struct dsm_history *history, uint32_t upto);
/* Is what it asks to be taken in known here? */
bool dsm_history_observed(const struct dsm_host *host, const struct dsm_collector *collector);
/* Does another host wait for this copy to be brought up to date? */
bool dsm_history_is_wanted(const struct dsm_host *host, uint64_t page);
/* Is this host the base, and nobody asked to succeed it? */
bool dsm_history_is_base(const struct dsm_host *host, const struct dsm_page *page);
/* Its COLLECT is answered, or never will be. */
void dsm_history_collected(struct dsm_host *host, struct dsm_history *history);

#endif

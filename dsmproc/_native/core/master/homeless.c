/* Who has written a page that has no home (host/homeless.c), at the master.
 *
 * A NOTICE of such a page is told to others with all its writers: for each its newest interval, and
 * only those that the other was not told yet. An interval is what one publish announces; the master
 * counts them as the hosts do. The list of a page is as long as the hosts are that ever wrote it.
 */
#include "core/master/master.h"

struct writer {
    dsm_ref next;
    uint16_t host, unused;
    uint32_t interval, unused2;
    uint64_t stamp;
};

bool dsm_mhomeless_kept(const struct dsm_master *master, const struct dsm_version *version) {
    const struct dsm_mregion *region = dsm_at(master, version->region);
    return region->policy == DSM_HOME_HOMELESS;
}

void dsm_mhomeless_note(struct dsm_master *master, struct dsm_version *version, uint32_t host) {
    dsm_ref ref = version->writers;
    while (ref && ((const struct writer *)dsm_at(master, ref))->host != host)
        ref = dsm_next(master, ref);
    if (!ref) {
        ref = dsm_arena_take(&master->arena, sizeof(struct writer));
        *(struct writer *)dsm_at(master, ref) =
            (struct writer){.next = version->writers, .host = (uint16_t)host};
        version->writers = ref;
    }
    struct writer *writer = dsm_at(master, ref);
    writer->interval = master->intervals[host] + 1;
    writer->stamp = master->log;
}

void dsm_mhomeless_forget(struct dsm_master *master, struct dsm_version *version) {
    for (dsm_ref at = version->writers, next; at; at = next) {
        next = dsm_next(master, at);
        dsm_arena_give(&master->arena, at, sizeof(struct writer));
    }
    version->writers = 0;
}

void dsm_mhomeless_tell(struct dsm_master *master, struct dsm_told *told, uint32_t host,
                        uint64_t id, const struct dsm_version *version, uint64_t since) {
    if (told->n == DSM_BATCH) dsm_mhomeless_end(master, told);
    if (!told->n) {
        told->message = dsm_send(master->out, host, DSM_FAST, DSM_MSG_WRITERS);
        dsm_put64(master->out, master->log);
        told->n_at = master->out->nbytes;
        dsm_put16(master->out, 0);
    }
    told->n++;
    dsm_put64(master->out, id);
    dsm_put16(master->out, version->home);
    dsm_put32(master->out, version->epoch);
    uint32_t n = 0, n_at = master->out->nbytes;
    dsm_put16(master->out, 0);
    for (dsm_ref at = version->writers; at; at = dsm_next(master, at)) {
        const struct writer *writer = dsm_at(master, at);
        if (writer->host == host || writer->stamp <= since) continue;
        dsm_put16(master->out, writer->host);
        dsm_put32(master->out, writer->interval);
        n++;
    }
    dsm_patch16(master->out, n_at, n);
}

void dsm_mhomeless_end(struct dsm_master *master, struct dsm_told *told) {
    if (!told->n) return;
    dsm_patch16(master->out, told->n_at, told->n);
    dsm_sent(master->out, told->message, 0);
    told->n = 0;
}

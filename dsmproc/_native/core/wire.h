/* Messages between hosts and master: types, layouts, and a cursor that cannot leave its bytes.
 *
 * All integers are little endian and unaligned; a message is its type byte, then its fields:
 *
 *   host to host
 *   GET    seq u32, page u64, count u16                              fast; ahead: bulk
 *   PAGE   seq u32, page u64, count u16, n x (epoch u32, changes u32), then the pages  as the GET
 *   MOVED  seq u32, page u64, home u16, epoch u32   a GET that came to a host that is not the
 *            page's home, and who is, as far as is known there              as the GET
 *   DIFF   n u16, n x (page u64, number u32, length u32), then the n diffs    bulk
 *   DACK   n u16, n x (page u64, number u32, epoch u32, changes u32)          bulk
 *   ELSEWHERE n u16, n x (page u64, number u32, home u16, epoch u32)   bulk: a DIFF that came to a
 *            host that is not the page's home, and who is, as far as is known there
 *   TAKE   n u16, n x (page u64, changes u32)                                 bulk
 *   TAKEN  n u16, n x (page u64, epoch u32 (0: no))                           bulk
 *   HAND   n u16, n x (page u64, epoch u32, changes u32), then n pages        bulk
 *   HANDED n u16, n x (page u64, epoch u32, answer u8 (0: no; 1: yes; 2: not yet))  bulk
 *   BYE    answer u8         0: this host takes nothing any more; 1: nothing is sent to it  bulk
 *   homeless pages (host/homeless.c, host/collect.c)
 *   WANT   page u64, from u32, upto u32   the diffs of these intervals of yours     fast
 *   DIFFS  page u64, from u32, upto u32, gone u8 (1: they were collected), n u16,
 *            n x (interval u32, tag u64, length u32), then the n diffs              fast
 *   WANT_BASE page u64                                                              fast
 *   BASE   page u64, how u8 (0: here; 1: the base is elsewhere; 2: lost), home u16, epoch u32,
 *            n u16, n x (host u16, interval u32), then, if here, the page           fast
 *   COLLECT page u64, stamp u64, epoch u32, adopt u8   take them in; adopt: be the base  bulk
 *   COLLECTED page u64, upto u32, home u16, epoch u32  those up to this interval are in        bulk
 *   COPY   page u64, write u8, then the page                     (sc) fast
 *   host to master
 *   CLAIM    n u16, n x page u64                     -> CLAIMED
 *   NOTICE   last u8, n u16, n x (page u64, count u16 (+ 0x8000: only the home changed),
 *            home u16, epoch u32)                    -> PUBLISHED if last
 *            last: 0 more follow; 2 who sends it leaves, and waits for nobody (erc)
 *   CHANGES  last u8, n u16, n x (page u64, home u16, epoch u32, length u16,
 *            reader u16: for whom, DSM_NO_HOST: all), then the n diffs:
 *            a NOTICE of pages with what changed in them
 *   BIND     lock u64, page u64, count u16           they are bound to this lock
 *   OBSERVE                                          -> OBSERVED
 *   ATTACH   region u32                              -> REGION
 *   DETACH   region u32
 *   LOCK_ASK id u64, try u8                          -> GRANT or TRY_FAILED
 *   RETURN   id u64, want u8
 *   TRY_HELD id u64, asker u16                       answer to RECALL with try
 *   CALL     req u64, op u8, id u64, a u64, b u64, c u64   -> RET
 *   CANCEL   req u64
 *   UNLOCKED asker u16, req u64, status u8           answer to UNLOCK
 *   SCOPE    id u64, open u8                         (scc) it was taken, was released here
 *   KNOWN    stamp u64                               (erc) answer to TOLD
 *   WHERE    n u16, n x (page u64, home u16, epoch u32)  that home is gone      -> FOUND
 *   SAY      round u32, n u16, n x (page u64, what u8 (DSM_SAY_*), home u16, epoch u32)  to ASK
 *   NEED     page u64, write u8, number u32          (sc) -> OWN, NONE, or a COPY from its owner
 *   IS_CUT   lost host u16
 *   OWNER_DIED id u64, died u8                       1: its holder died; 0: it is right again
 *   DONE     page u64, number u32                    (sc) the COPY has come
 *   GONE     page u64, round u32                     (sc) answer to INV, and to GIVE of what is not
 *            here; round 0: given up for want of memory
 *   STILL    page u64, number u32                    (sc) answer to STRANDED, unless it has come
 *   master to host
 *   NOTICES   upto u64 (0: more follow), n u16, n x (page u64, count u16, home u16, epoch u32)
 *   UPDATES   n u16, n x (page u64, home u16, epoch u32, length u16, the diff): as NOTICES
 *   WRITERS   log u64 (the master's, now), n u16, n x (page u64, home u16, epoch u32, k u16,
 *             k x (host u16, interval u32)): as NOTICES, of homeless pages
 *   CLAIMED   n u16, n x (page u64, home u16, epoch u32)
 *   PUBLISHED stamp u64
 *   OBSERVED
 *   REGION    region u32, status u8, pages u32, policy u8, hosts u16, last u8, n u16,
 *             n x (page u64, count u16, home u16, epoch u32); last: 0 more follow,
 *             1 the end of an ATTACH, 2 made known to a home (answered by DETACH)
 *   DROP      region u32
 *   GRANT     id u64, upto u64      upto: all that it tells was announced by then
 *   RECALL    id u64, try u8, asker u16
 *   TRY_FAILED id u64
 *   RET       req u64, status u8, value u64
 *   UNLOCK    id u64, asker u16, req u64
 *   ASK       lost hosts 4 x u64, round u32, n u16, n x page u64   what do you know of them?
 *   FOUND     n u16, n x (page u64, how u8 (DSM_FOUND_*), home u16, epoch u32)
 *   CUT       lost host u16                          -> IS_CUT: it is heard no longer
 *   OWNER_DIED id u64, died u8 (1)  before a GRANT: a holder died, and none says it is right
 *   INV       page u64, round u32                    (sc) -> GONE
 *   GIVE      page u64, round u32, to u16, write u8  (sc) -> COPY to it; write: and give it up
 *   OWN       page u64, how u8 (DSM_OWN_*)           (sc)
 *   STRANDED  page u64, number u32, lost host u16    (sc) that was to send the page -> STILL
 *   NONE      page u64, host u16                     (sc) its only copy died with that host
 *   TOLD      stamp u64             (erc) -> KNOWN, when the notices before it are finished
 *
 * Numbers are written out and never reused.
 */
#ifndef DSM_CORE_WIRE_H
#define DSM_CORE_WIRE_H
#include <stdbool.h>
#include <stdint.h>

enum {
    DSM_MSG_GET = 1,
    DSM_MSG_PAGE = 2,
    DSM_MSG_DIFF = 3,
    DSM_MSG_DACK = 4,
    DSM_MSG_MOVED = 5,
    DSM_MSG_TAKE = 8,
    DSM_MSG_TAKEN = 9,
    DSM_MSG_HAND = 10,
    DSM_MSG_HANDED = 11,
    DSM_MSG_ELSEWHERE = 12,
    DSM_MSG_BYE = 13,
    DSM_MSG_COPY = 14,
    DSM_MSG_CLAIM = 16,
    DSM_MSG_NOTICE = 17,
    DSM_MSG_OBSERVE = 18,
    DSM_MSG_ATTACH = 19,
    DSM_MSG_DETACH = 20,
    DSM_MSG_LOCK_ASK = 21,
    DSM_MSG_RETURN = 22,
    DSM_MSG_TRY_HELD = 23,
    DSM_MSG_CALL = 24,
    DSM_MSG_CANCEL = 25,
    DSM_MSG_UNLOCKED = 26,
    DSM_MSG_CHANGES = 27,
    DSM_MSG_WHERE = 28,
    DSM_MSG_SAY = 29,
    DSM_MSG_BIND = 30,
    DSM_MSG_NOTICES = 32,
    DSM_MSG_CLAIMED = 33,
    DSM_MSG_PUBLISHED = 34,
    DSM_MSG_OBSERVED = 35,
    DSM_MSG_REGION = 36,
    DSM_MSG_DROP = 37,
    DSM_MSG_GRANT = 38,
    DSM_MSG_RECALL = 39,
    DSM_MSG_TRY_FAILED = 40,
    DSM_MSG_RET = 41,
    DSM_MSG_UNLOCK = 42,
    DSM_MSG_UPDATES = 43,
    DSM_MSG_ASK = 44,
    DSM_MSG_FOUND = 45,
    DSM_MSG_SCOPE = 46,
    DSM_MSG_TOLD = 47,
    DSM_MSG_KNOWN = 48,
    DSM_MSG_WANT = 49,
    DSM_MSG_DIFFS = 50,
    DSM_MSG_WANT_BASE = 51,
    DSM_MSG_BASE = 52,
    DSM_MSG_COLLECT = 53,
    DSM_MSG_COLLECTED = 54,
    DSM_MSG_WRITERS = 55,
    DSM_MSG_NEED = 60,
    DSM_MSG_DONE = 61,
    DSM_MSG_GONE = 62,
    DSM_MSG_STILL = 63,
    DSM_MSG_INV = 64,
    DSM_MSG_GIVE = 65,
    DSM_MSG_OWN = 66,
    DSM_MSG_NONE = 67,
    DSM_MSG_STRANDED = 68,
    DSM_MSG_CUT = 69,
    DSM_MSG_IS_CUT = 70,
    DSM_MSG_OWNER_DIED = 71,
};

/* How a host owns a page, in OWN. */
enum {
    DSM_OWN_ZERO = 0,  /* nobody has touched it: it is zeros */
    DSM_OWN_ALONE = 1, /* the copy here is the only one */
    DSM_OWN_ADOPT = 2, /* its owner is gone: the copy here is kept */
};

enum {
    DSM_MOVED_ONLY = 0x8000, /* in a NOTICE's count */
};

/* What a host says of a page whose home is sought. */
enum {
    DSM_SAY_HOME = 1,    /* it is at home here, at this epoch */
    DSM_SAY_COMING = 2,  /* the home was asked for by this host, and has not answered */
    DSM_SAY_COPY = 4,    /* a copy that no notice heard of here has made invalid */
    DSM_SAY_APPLIED = 8, /* a home has applied changes of this host that are not announced */
};

enum {
    DSM_FOUND_HOME = 0, /* it lives there */
    DSM_FOUND_COPY = 1, /* its home died; the copy there is the page from now on, no other is */
    DSM_FOUND_LOST = 2, /* its home died, and no copy is known to be the newest */
};

/* Most pages named in one NOTICES, CLAIM or DIFF message: what one step has to do is bounded. */
enum { DSM_BATCH = 256 };

struct dsm_cursor {
    const uint8_t *at, *end;
    bool bad; /* a read went past the end; it gave 0 */
};

uint8_t dsm_get8(struct dsm_cursor *cursor);
uint16_t dsm_get16(struct dsm_cursor *cursor);
uint32_t dsm_get32(struct dsm_cursor *cursor);
uint64_t dsm_get64(struct dsm_cursor *cursor);
/* Nothing read past the end and nothing left over. */
bool dsm_cursor_done(const struct dsm_cursor *cursor);

/* A diff's first byte, and what comes before the bytes of each run (diff.c). */
enum { DSM_DIFF_RUNS = 0, DSM_DIFF_BITS = 1, DSM_DIFF_RUN_HEAD = 4 };
/* Would dsm_diff_apply take it? */
bool dsm_diff_sound(const uint8_t *diff, uint32_t len, uint32_t page_size);

struct dsm_out;
void dsm_put8(struct dsm_out *out, uint32_t value);
void dsm_put16(struct dsm_out *out, uint32_t value);
void dsm_put32(struct dsm_out *out, uint32_t value);
void dsm_put64(struct dsm_out *out, uint64_t value);
/* Write over a count that was put as 0 when the message began. */
void dsm_patch16(struct dsm_out *out, uint32_t off, uint32_t value);

struct dsm_action;
struct dsm_action *dsm_act(struct dsm_out *out, uint32_t kind);
/* A message of type `type` to `host`: the action is made, the type byte is put. The caller puts
 * the fields and then calls dsm_sent. */
uint32_t dsm_send(struct dsm_out *out, uint32_t host, uint32_t channel, uint32_t type);
/* End of the message begun as action `index`; payload actions follow it. */
void dsm_sent(struct dsm_out *out, uint32_t index, uint32_t payloads);

#endif

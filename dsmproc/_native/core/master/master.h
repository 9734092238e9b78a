/* What the files of the master's side offer each other, the ground first: a file uses those above
 * it in this list, and none below it. step.c stands on all of them.
 */
#ifndef DSM_CORE_MASTER_MASTER_H
#define DSM_CORE_MASTER_MASTER_H
#include "core/master/state.h"

/* ---- objects.c: locks, semaphores, barriers, and who waits --------------------------------- */

struct dsm_object *dsm_object_find(struct dsm_master *master, uint64_t id, uint32_t kind);
struct dsm_object *dsm_object_make(struct dsm_master *master, uint64_t id, uint32_t kind);
void dsm_asker_push(struct dsm_master *master, struct dsm_queue *queue, struct dsm_asker asker);
bool dsm_asker_pop(struct dsm_master *master, struct dsm_queue *queue, struct dsm_asker *asker);
/* Take out the first asker that matches (req 0: any of that host); false: none. */
bool dsm_asker_take(struct dsm_master *master, struct dsm_queue *queue, uint32_t host,
                    uint64_t req);
/* The lock's record, made if needed; NULL: the id is that of something else. */
struct dsm_object *dsm_object_lock(struct dsm_master *master, uint64_t id);
/* The lock's token was at the host, which is lost: false if that had handed over all that it
 * had. */
bool dsm_object_lost_with(const struct dsm_master *master, struct dsm_object *lock, uint32_t host);
/* To who watches: one of `count` locks that are so. */
void dsm_object_say_died(struct dsm_master *master, uint64_t lock, uint32_t host, uint64_t count);
/* For each host up to where grants of the lock told it all that they must; NULL: none was. */
uint64_t *dsm_object_told(const struct dsm_master *master, const struct dsm_object *lock);

/* ---- pagetable.c: regions and page versions ------------------------------------------------ */

struct dsm_mregion *dsm_mregion_find(const struct dsm_master *master, uint64_t id);
struct dsm_version *dsm_version_at(const struct dsm_master *master, dsm_ref ref);
uint64_t dsm_version_page(const struct dsm_master *master, const struct dsm_version *version);
/* The page's version, made if needed; NULL: no such region. The page must lie in it. */
struct dsm_version *dsm_version_find(struct dsm_master *master, uint64_t id);
struct dsm_version *dsm_version_of(struct dsm_master *master, struct dsm_mregion *region,
                                   uint32_t index);
/* The versions that stand together with this page's; 0: they are not made. */
dsm_ref dsm_version_chunk(const struct dsm_master *master, const struct dsm_mregion *region,
                          uint32_t index);
/* The host has announced a change of it, stamped master->log. */
void dsm_version_notice(struct dsm_master *master, struct dsm_version *version, uint32_t host);
/* Take it out of the order of recency. */
void dsm_version_unlink(struct dsm_master *master, struct dsm_version *version);
/* Would a host that was told so far have to be told of it? */
bool dsm_version_concerns(const struct dsm_master *master, const struct dsm_version *version,
                          uint32_t host, uint64_t told);
/* Up to which stamp the host was told of changes of this page. */
uint64_t dsm_version_told(const struct dsm_master *master, const struct dsm_version *version,
                          uint32_t host);
bool dsm_version_is_shared(const struct dsm_version *version);

/* ---- homeless.c: who has written a page that has no home ----------------------------------- */

bool dsm_mhomeless_kept(const struct dsm_master *master, const struct dsm_version *version);
/* The host announces that it has written the page. */
void dsm_mhomeless_note(struct dsm_master *master, struct dsm_version *version, uint32_t host);
void dsm_mhomeless_forget(struct dsm_master *master, struct dsm_version *version);
/* Those who wrote it after `since`. */
void dsm_mhomeless_tell(struct dsm_master *master, struct dsm_told *told, uint32_t host,
                        uint64_t id, const struct dsm_version *version, uint64_t since);
void dsm_mhomeless_end(struct dsm_master *master, struct dsm_told *told);

/* ---- bound.c: changes that came with their bytes ------------------------------------------- */

/* A change of the page, stamped master->log, came with its diff; before it is noticed. */
void dsm_mbound_add(struct dsm_master *master, struct dsm_version *version, uint32_t host,
                    const uint8_t *bytes, uint32_t len);
/* Who is told the bytes: one host, or all (DSM_NO_HOST). */
void dsm_mbound_for(struct dsm_master *master, struct dsm_version *version, uint32_t reader);
void dsm_mbound_drop(struct dsm_master *master, struct dsm_version *version);
/* Can the host be told what changed, instead of that the page did? */
bool dsm_mbound_serves(const struct dsm_master *master, const struct dsm_version *version,
                       uint32_t host);
void dsm_mbound_tell(struct dsm_master *master, struct dsm_updates *updates, uint32_t host,
                     uint64_t id, const struct dsm_version *version);
void dsm_mbound_end(struct dsm_master *master, struct dsm_updates *updates);

/* ---- entry.c: entry consistency ------------------------------------------------------------ */

int dsm_entry_on_bind(struct dsm_master *master, uint32_t from, struct dsm_cursor *cursor);
/* Does a grant of this lock tell of the page? */
bool dsm_entry_concerns(const struct dsm_master *master, const struct dsm_version *version,
                        const struct dsm_object *lock);
/* The host was told of all that is bound to it. */
void dsm_entry_granted(struct dsm_master *master, struct dsm_object *lock, uint32_t host);

/* ---- scope.c: scope consistency ------------------------------------------------------------ */

int dsm_scope_on_scope(struct dsm_master *master, uint32_t from, struct dsm_cursor *cursor);
/* The host has announced a change of the page. */
void dsm_scope_wrote(struct dsm_master *master, struct dsm_version *version, uint32_t host);
/* It is released, by a host that may not be its taker's. */
void dsm_scope_released(struct dsm_master *master, struct dsm_object *lock);
void dsm_scope_close(struct dsm_master *master, struct dsm_object *lock);
/* Walk the pages that the host must be told of before it gets the lock (*at = 0 at first), the last
 * written first; NULL: no more. */
const struct dsm_version *dsm_scope_next(const struct dsm_master *master,
                                         const struct dsm_object *lock, uint32_t host, dsm_ref *at);
/* Must it be told everything? */
bool dsm_scope_is_all(const struct dsm_master *master, const struct dsm_object *lock,
                      uint32_t host);
/* Forget what all hosts were told of; and a region. */
void dsm_scope_prune(struct dsm_master *master, struct dsm_object *lock);
void dsm_scope_forget(struct dsm_master *master, const struct dsm_mregion *region);

/* ---- tell.c: what a host must know --------------------------------------------------------- */

/* All that changed since the host was told. */
void dsm_tell(struct dsm_master *master, uint32_t host);
/* Before a lock is granted to the host: what the model says that it must know. */
void dsm_tell_grant(struct dsm_master *master, uint32_t host, struct dsm_object *lock);
void dsm_tell_published(struct dsm_master *master, uint32_t host);
/* The end of a CALL: told, then RET. */
void dsm_tell_ret(struct dsm_master *master, uint32_t host, uint64_t req, uint32_t status,
                  uint64_t value);
/* Send REGION with all its pages ever noticed, at this position of the log. */
void dsm_tell_region(struct dsm_master *master, uint32_t to, struct dsm_mregion *region,
                     bool with_pages, bool asked);

/* ---- eager.c: eager release consistency ---------------------------------------------------- */

/* The host's publish, stamped master->log: PUBLISHED is sent when all others know of it. */
void dsm_eager_publish(struct dsm_master *master, uint32_t host);
int dsm_eager_on_known(struct dsm_master *master, uint32_t from, struct dsm_cursor *cursor);
void dsm_eager_host_lost(struct dsm_master *master, uint32_t host);

/* ---- publish.c: notices and claims --------------------------------------------------------- */

int dsm_mpublish_on_notice(struct dsm_master *master, uint32_t from, struct dsm_cursor *cursor);
int dsm_mpublish_on_changes(struct dsm_master *master, uint32_t from, struct dsm_cursor *cursor);
int dsm_mpublish_on_claim(struct dsm_master *master, uint32_t from, struct dsm_cursor *cursor);

/* ---- lock.c: where each lock's token is ---------------------------------------------------- */

int dsm_mlock_on_ask(struct dsm_master *master, uint32_t from, struct dsm_cursor *cursor);
int dsm_mlock_on_return(struct dsm_master *master, uint32_t from, struct dsm_cursor *cursor);
int dsm_mlock_on_try_held(struct dsm_master *master, uint32_t from, struct dsm_cursor *cursor);
int dsm_mlock_on_unlocked(struct dsm_master *master, struct dsm_cursor *cursor);
int dsm_mlock_on_owner_died(struct dsm_master *master, uint32_t from, struct dsm_cursor *cursor);
int dsm_mlock_unlock(struct dsm_master *master, const struct dsm_call *call);
/* True: its token was there, and its next holder is told that one died. */
bool dsm_mlock_host_lost(struct dsm_master *master, struct dsm_object *lock, uint32_t host);

/* ---- semaphore.c: permits ------------------------------------------------------------------ */

int dsm_semaphore_call(struct dsm_master *master, const struct dsm_call *call);
void dsm_semaphore_cancel(struct dsm_master *master, struct dsm_object *object, uint32_t host,
                          uint64_t req);

/* ---- barrier.c: parties -------------------------------------------------------------------- */

int dsm_barrier_call(struct dsm_master *master, const struct dsm_call *call);
void dsm_barrier_cancel(struct dsm_master *master, struct dsm_object *object, uint32_t host,
                        uint64_t req);
void dsm_barrier_host_lost(struct dsm_master *master, struct dsm_object *barrier, uint32_t host);

/* ---- cut.c: a host is lost, and not all others know ---------------------------------------- */

void dsm_cut_host_lost(struct dsm_master *master, uint32_t host);
int dsm_cut_on_is_cut(struct dsm_master *master, uint32_t from, struct dsm_cursor *cursor);

/* ---- recover.c: where pages live whose home is gone ---------------------------------------- */

int dsm_mrecover_on_where(struct dsm_master *master, uint32_t from, struct dsm_cursor *cursor);
int dsm_mrecover_on_say(struct dsm_master *master, uint32_t from, struct dsm_cursor *cursor);
void dsm_mrecover_host_joined(struct dsm_master *master, uint32_t host);
void dsm_mrecover_host_lost(struct dsm_master *master, uint32_t host);
void dsm_mrecover_forget(struct dsm_master *master, uint32_t region);
void dsm_mrecover_tell(struct dsm_master *master); /* at the end of a step */

/* ---- single.c: sequential consistency ------------------------------------------------------ */

int dsm_msingle_on_need(struct dsm_master *master, uint32_t from, struct dsm_cursor *cursor);
int dsm_msingle_on_done(struct dsm_master *master, uint32_t from, struct dsm_cursor *cursor);
int dsm_msingle_on_gone(struct dsm_master *master, uint32_t from, struct dsm_cursor *cursor);
int dsm_msingle_on_still(struct dsm_master *master, uint32_t from, struct dsm_cursor *cursor);
void dsm_msingle_host_left(struct dsm_master *master, uint32_t host);
void dsm_msingle_end(struct dsm_master *master, uint32_t region);

/* ---- region.c: who has them attached, and when they end ------------------------------------ */

int dsm_mregion_made(struct dsm_master *master, const struct dsm_event *event);
int dsm_mregion_unlink(struct dsm_master *master, const struct dsm_event *event);
int dsm_mregion_on_attach(struct dsm_master *master, uint32_t from, struct dsm_cursor *cursor);
int dsm_mregion_on_detach(struct dsm_master *master, uint32_t from, struct dsm_cursor *cursor);
void dsm_mregion_host_lost(struct dsm_master *master, uint32_t host);

#endif

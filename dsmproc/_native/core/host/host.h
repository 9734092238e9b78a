/* What the files of a host's side offer each other, the ground first: a file uses those above it in
 * this list, and none below it. step.c stands on all of them.
 */
#ifndef DSM_CORE_HOST_HOST_H
#define DSM_CORE_HOST_HOST_H
#include "core/host/state.h"

/* ---- jobs.c: requests ---------------------------------------------------------------------- */

void dsm_count(struct dsm_host *host, uint32_t kind, uint64_t by);
void dsm_reply(struct dsm_host *host, uint64_t req, uint32_t status, uint64_t arg);
dsm_ref dsm_job_new(struct dsm_host *host, struct dsm_job job);
void dsm_job_free(struct dsm_host *host, dsm_ref job);
/* Answer the job's request, unless it was cancelled, and free the job. */
void dsm_job_reply(struct dsm_host *host, dsm_ref job, uint32_t status, uint64_t arg);

/* ---- pagetable.c: regions and page records ------------------------------------------------- */

struct dsm_region *dsm_region_find(const struct dsm_host *host, uint64_t id);
struct dsm_region *dsm_region_make(struct dsm_host *host, uint32_t id);
/* ATTACH or DETACH. */
void dsm_region_send(struct dsm_host *host, uint32_t type, uint32_t id);
/* Make it known here: pages of it are handed to this host. */
void dsm_region_want(struct dsm_host *host, uint64_t id);
/* The page's record, made if needed; NULL: no such region or beyond its end. */
struct dsm_page *dsm_page_find(struct dsm_host *host, uint64_t id);
/* The record if it exists: NULL also for a page that is still as at the start. */
struct dsm_page *dsm_page_known(const struct dsm_host *host, const struct dsm_region *region,
                                uint32_t index);
struct dsm_page *dsm_page_there(const struct dsm_host *host, uint64_t id);
/* Its home as far as this host knows. */
uint32_t dsm_page_home(const struct dsm_host *host, const struct dsm_region *region,
                       uint32_t index);
/* Memory that the records of these pages still need: asked for before a message is acted on. */
uint64_t dsm_page_room(const struct dsm_host *host, uint64_t id, uint32_t count);
/* Is n x (page u64, count u16, home u16, epoch u32) sound, as far as the regions are known? */
bool dsm_page_runs_sound(const struct dsm_host *host, struct dsm_cursor cursor, uint32_t n);
bool dsm_page_is_homeless(const struct dsm_host *host, const struct dsm_page *page);
/* A change of the page was announced: learn its home. NULL: nothing of it is here. */
struct dsm_page *dsm_page_learn_home(struct dsm_host *host, uint64_t id, uint32_t home,
                                     uint32_t epoch);
bool dsm_page_home_fits(const struct dsm_host *host, const struct dsm_region *region,
                        uint32_t index, uint32_t home, uint32_t epoch);
/* May the master say so? */
bool dsm_page_home_is_possible(const struct dsm_host *host, uint64_t id, uint32_t home,
                               uint32_t epoch);

/* ---- rows.c: faults that follow each other ------------------------------------------------- */

/* A fault came: how many pages, from this one on, it may bring; negative: up to this one. */
int32_t dsm_row_reach(struct dsm_host *host, uint64_t id, bool write);
/* It brought (or asked for) the pages from `first` to before `end`. */
void dsm_row_brought(struct dsm_host *host, uint64_t first, uint64_t end);
/* Which pages of its chunk are within a page's reach. */
struct dsm_run dsm_row_reached(const struct dsm_host *host, const struct dsm_page *page,
                               int32_t reach);
/* How many of `length` pages from this one on lie in its chunk. */
uint32_t dsm_row_room(const struct dsm_host *host, const struct dsm_page *page, uint32_t length);
/* Pages are mapped, a page is thrown away: were they asked for ahead? */
void dsm_row_used(struct dsm_page *first, uint32_t count);
void dsm_row_unused(struct dsm_page *page);

/* ---- pageops.c: what is done to one page --------------------------------------------------- */

/* Act on one page more: joined with the action before it if that was about the page before. */
void dsm_page_act(struct dsm_host *host, uint32_t kind, const struct dsm_page *page);
/* Let the client use them, and wake its threads that wait for them. */
void dsm_page_map(struct dsm_host *host, const struct dsm_page *first, uint32_t count,
                  uint32_t client, bool writable);
void dsm_page_dirtied(struct dsm_host *host, struct dsm_page *page);
void dsm_page_owe(struct dsm_host *host, struct dsm_page *page, bool changed);
/* The notice will not carry it after all. */
void dsm_page_uncarry(struct dsm_host *host, struct dsm_page *page);
void dsm_page_wait(struct dsm_host *host, struct dsm_page *page, uint32_t client, bool write,
                   int32_t reach);
void dsm_page_forget_waiters(struct dsm_host *host, struct dsm_page *page);
/* With fixed homes a page is at home here before anybody wrote it. */
void dsm_page_settle_in(struct dsm_host *host, struct dsm_page *page);
/* Forget an invalidation that waits; false: none does. */
bool dsm_page_revalidate(struct dsm_host *host, struct dsm_page *page);
void dsm_page_close(struct dsm_host *host, struct dsm_page *page);
/* Who refused this page for a diff of its own has sent it, or never will: it is offered again. */
void dsm_page_came(struct dsm_host *host, struct dsm_page *page);
/* Was it written before each of the last publishes? Then a read of it will be followed by a write,
 * and a publish leaves it writable. */
bool dsm_page_is_hot(const struct dsm_host *host, const struct dsm_page *page);
/* Ask for a comparison; dsm_flush_diffed goes on when the results of the step are all in. */
void dsm_page_compare(struct dsm_host *host, struct dsm_page *page, bool early, bool keep);
/* The same, of a page at home too; `how` says what is made of the result. */
void dsm_page_compare_as(struct dsm_host *host, struct dsm_page *page, struct dsm_compared how);
/* Send the kept diff (again). */
void dsm_page_send_kept(struct dsm_host *host, struct dsm_page *page);
/* Ask the master where this page lives: its home is gone. */
void dsm_page_seek(struct dsm_host *host, struct dsm_page *page);
void dsm_page_seek_send(struct dsm_host *host); /* at the end of a step */
/* It needs not be sought any more. */
void dsm_page_sought(struct dsm_host *host, struct dsm_page *page);

/* ---- history.c (history.h): what is known of homeless pages -------------------------- */

/* ---- feed.c: pages that are read after every publish --------------------------------------- */

/* A copy of this page, which is at home here, was given to `to`. */
void dsm_feed_given(struct dsm_host *host, struct dsm_page *page, uint32_t to);
void dsm_feed_publish(struct dsm_host *host); /* one begins */
/* It is announced without its bytes. */
void dsm_feed_noticed(struct dsm_host *host, struct dsm_page *page);
/* Is a twin kept when it is written at home? */
bool dsm_feed_twins(const struct dsm_host *host, const struct dsm_page *page);
/* Does the notice take its diff of `len` bytes along? Asked once a publish. */
bool dsm_feed_carries(struct dsm_host *host, struct dsm_page *page, uint32_t len);
/* For whom the bytes are; DSM_NO_HOST: for all. */
uint32_t dsm_feed_reader(const struct dsm_host *host, const struct dsm_page *page);

/* ---- run.c: what one write fault opens behind it ---------------------------------------- */

/* First write of a page: make it dirty, and its likes beside it within its reach; which these are,
 * for the caller to map them writable. */
struct dsm_run dsm_run_open(struct dsm_host *host, struct dsm_page *page, int32_t reach);

/* ---- serve.c: whoever touched a page goes on ----------------------------------------------- */

/* The pages around `page` that `joins` accepts: those of its aligned window of `window` pages, and
 * of its reach where that is more. */
struct dsm_run dsm_serve_around(struct dsm_host *host, const struct dsm_page *page, uint32_t window,
                                int32_t reach,
                                bool (*joins)(const struct dsm_host *, const struct dsm_page *,
                                              const struct dsm_page *));
/* The page is here and may be used as it is: map it, and its likes around it. */
void dsm_serve_map(struct dsm_host *host, struct dsm_page *page, uint32_t client, int32_t reach);
void dsm_serve_write(struct dsm_host *host, struct dsm_page *page, uint32_t client, int32_t reach);
/* A page that was fetched or handed over is here: serve the threads parked on it. */
void dsm_serve_waiters(struct dsm_host *host, struct dsm_page *first, uint32_t count);
/* Touching it ends the process: its only copy was lost. */
void dsm_serve_poison(struct dsm_host *host, struct dsm_page *page);

/* ---- written.c: a written page's turn in a publish ----------------------------------------- */

/* A dirty page's turn: announce it, compare it, or claim it. */
void dsm_written_look_at(struct dsm_host *host, struct dsm_page *page);
/* A page at home here changed: it will be announced, and no copy of it is held any more. */
void dsm_written_home(struct dsm_host *host, struct dsm_page *page);
void dsm_written_rests(struct dsm_host *host, struct dsm_page *page);
/* Its claim is won. */
void dsm_written_become_home(struct dsm_host *host, struct dsm_page *page);

/* ---- look.c: was an opened page written? --------------------------------------------------- */

/* If the page must be looked at before it is published: do it. */
bool dsm_look_at(struct dsm_host *host, struct dsm_page *page);
void dsm_look_looked(struct dsm_host *host, struct dsm_compared *result);
/* The second look at those of the first n results that need it. */
void dsm_look_again(struct dsm_host *host, uint32_t n);
void dsm_look_compared(struct dsm_page *page, bool written);

/* ---- homeless.c: pages whose writers keep their diffs -------------------------------------- */

/* Bring the copy of a homeless page up to date, then serve those who wait for it. */
void dsm_homeless_fetch(struct dsm_host *host, struct dsm_page *page);
/* May the copy be given up for want of memory? */
bool dsm_homeless_is_spare(const struct dsm_host *host, const struct dsm_page *page);
void dsm_homeless_forget(struct dsm_host *host, uint64_t page);
void dsm_homeless_host_lost(struct dsm_host *host, uint32_t who);
/* Where its base lives was asked, and is known, or that it is lost. */
void dsm_homeless_found(struct dsm_host *host, struct dsm_page *page);
int dsm_homeless_on_writers(struct dsm_host *host, struct dsm_cursor *cursor);
int dsm_homeless_on_diffs(struct dsm_host *host, uint32_t from, struct dsm_cursor *cursor);
int dsm_homeless_on_base(struct dsm_host *host, uint32_t from, struct dsm_cursor *cursor);
/* Is an answer to its page awaited? For checks. */
bool dsm_homeless_asks(const struct dsm_host *host, const struct dsm_page *page);

/* ---- keep.c: the writers' half ------------------------------------------------------------- */

/* Keep the diff that a comparison found. */
void dsm_keep_diff(struct dsm_host *host, const struct dsm_page *page, const uint8_t *bytes,
                   uint32_t len);
int dsm_keep_on_want(struct dsm_host *host, uint32_t from, struct dsm_cursor *cursor);
int dsm_keep_on_want_base(struct dsm_host *host, uint32_t from, struct dsm_cursor *cursor);

/* ---- page.c: the automaton of a page ------------------------------------------------------- */

void dsm_page_fault(struct dsm_host *host, struct dsm_page *page, uint32_t client, bool write);
void dsm_page_fetch(struct dsm_host *host, struct dsm_page *page, int32_t reach);
void dsm_page_invalidate(struct dsm_host *host, struct dsm_page *page);
/* Ask the home of absent pages for them. */
void dsm_page_get(struct dsm_host *host, struct dsm_page *first, uint32_t count, uint32_t channel);
int dsm_page_on_page(struct dsm_host *host, uint32_t from, struct dsm_cursor *cursor);
int dsm_page_on_moved(struct dsm_host *host, struct dsm_cursor *cursor);

/* ---- ahead.c: what a row of faults will want next ------------------------------------------ */

/* At the end of a fault: ask for what its row will want next. */
void dsm_ahead_ask(struct dsm_host *host, const struct dsm_region *region);

/* ---- home.c: what a home does -------------------------------------------------------------- */

int dsm_home_on_get(struct dsm_host *host, uint32_t from, struct dsm_cursor *cursor);
int dsm_home_on_diff(struct dsm_host *host, uint32_t from, struct dsm_cursor *cursor);

/* ---- observe.c: what others have announced, and the gate ----------------------------------- */

int dsm_observe_request(struct dsm_host *host, const struct dsm_event *event);
int dsm_observe_on_notices(struct dsm_host *host, struct dsm_cursor *cursor);
void dsm_observe_tick(struct dsm_host *host);
/* For this host itself. */
void dsm_observe_up_to(struct dsm_host *host, uint64_t stamp);
/* Let it wait until all invalidations are done. */
void dsm_observe_gate(struct dsm_host *host, struct dsm_job job);
/* The first that waits at the gate, if it may pass. */
bool dsm_observe_pass(struct dsm_host *host, struct dsm_job *job);
/* Past the gate: all notices up to here are done; an OBSERVE is answered; (erc) the master asks. */
void dsm_observe_seen(struct dsm_host *host, uint64_t stamp);
void dsm_observe_observed(struct dsm_host *host);
void dsm_observe_told(struct dsm_host *host, uint64_t stamp);

/* ---- bound.c: changes that travel with notices --------------------------------------------- */

int dsm_bound_bind(struct dsm_host *host, const struct dsm_event *event);
/* A diff of `len` bytes of it is kept: it is owed, and the notice may carry the diff. */
void dsm_bound_owe(struct dsm_host *host, struct dsm_page *page, uint32_t len);
void dsm_bound_looked(struct dsm_host *host, struct dsm_compared *result);
/* Take those whose diffs are carried out of the owed pages, and announce them: the last NOTICE. */
struct dsm_owed dsm_bound_owed(struct dsm_host *host);
void dsm_bound_announce(struct dsm_host *host, struct dsm_owed *owed);
int dsm_bound_on_updates(struct dsm_host *host, struct dsm_cursor *cursor);

/* ---- publish.c: compare, claim, wait for the homes, announce ------------------------------- */

int dsm_publish_request(struct dsm_host *host, const struct dsm_event *event);
/* Do `job` as soon as all that was written before this call is announced. */
void dsm_publish_then(struct dsm_host *host, dsm_ref job);
int dsm_publish_on_claimed(struct dsm_host *host, struct dsm_cursor *cursor);
void dsm_publish_stamped(struct dsm_host *host, uint64_t stamp);
/* After each step: one thing that can be done now. True: what that made ready is done, and it is
 * asked again. */
bool dsm_publish_go_on(struct dsm_host *host);
void dsm_publish_slice(struct dsm_host *host); /* at EV_MORE */
void dsm_publish_tick(struct dsm_host *host);
bool dsm_publish_busy(const struct dsm_host *host);
uint64_t dsm_publish_out(const struct dsm_host *host);

/* ---- flush.c: comparisons, diffs, acknowledgements ----------------------------------------- */

int dsm_flush_diffed(struct dsm_host *host, const struct dsm_event *event);
int dsm_flush_on_dack(struct dsm_host *host, uint32_t from, struct dsm_cursor *cursor);
void dsm_flush_acked(struct dsm_host *host, struct dsm_page *page);
int dsm_flush_on_elsewhere(struct dsm_host *host, struct dsm_cursor *cursor);

/* ---- collect.c: kept diffs are bounded ----------------------------------------------------- */

void dsm_collect_go_on(struct dsm_host *host); /* at the end of a step */
/* This host leaves, and `heir` is to be the page's base. */
void dsm_collect_adopt(struct dsm_host *host, struct dsm_page *page, uint32_t heir);
void dsm_collect_host_lost(struct dsm_host *host, uint32_t who);
int dsm_collect_on_collect(struct dsm_host *host, uint32_t from, struct dsm_cursor *cursor);
int dsm_collect_on_collected(struct dsm_host *host, uint32_t from, struct dsm_cursor *cursor);

/* ---- call.c: operations kept at the master ------------------------------------------------- */

int dsm_call_request(struct dsm_host *host, const struct dsm_event *event);
void dsm_call_send(struct dsm_host *host, dsm_ref job); /* its publish is announced */
void dsm_call_returned(struct dsm_host *host, const struct dsm_job *job);
void dsm_call_cancel(struct dsm_host *host, dsm_ref job);

/* ---- lock.c: locks whose token is or is not here ------------------------------------------- */

int dsm_lock_open(struct dsm_host *host, const struct dsm_event *event);
int dsm_lock_acquire(struct dsm_host *host, const struct dsm_event *event);
int dsm_lock_unlock(struct dsm_host *host, const struct dsm_event *event);
int dsm_lock_worded(struct dsm_host *host, const struct dsm_event *event);
int dsm_lock_consistent(struct dsm_host *host, const struct dsm_event *event);
void dsm_lock_cancel(struct dsm_host *host, dsm_ref job);
void dsm_lock_recalled(struct dsm_host *host, const struct dsm_job *job);
void dsm_lock_try_failed(struct dsm_host *host, uint64_t id);
void dsm_lock_owner_died(struct dsm_host *host, uint64_t id);
void dsm_lock_granted(struct dsm_host *host, const struct dsm_job *job);
void dsm_lock_unlock_here(struct dsm_host *host, const struct dsm_job *job);
void dsm_lock_take(struct dsm_host *host, uint64_t id); /* what was written before is announced */
void dsm_lock_release(struct dsm_host *host, dsm_ref job);
void dsm_lock_leave(struct dsm_host *host, uint64_t id); /* the publish before it is announced */

/* ---- move.c: how a home moves -------------------------------------------------------------- */

int dsm_move_on_take(struct dsm_host *host, uint32_t from, struct dsm_cursor *cursor);
int dsm_move_on_taken(struct dsm_host *host, uint32_t from, struct dsm_cursor *cursor);
int dsm_move_hand(struct dsm_host *host, const struct dsm_event *event);
int dsm_move_on_hand(struct dsm_host *host, uint32_t from, struct dsm_cursor *cursor);
int dsm_move_on_handed(struct dsm_host *host, uint32_t from, struct dsm_cursor *cursor);
/* Hand over pages that are at home here, n <= DSM_SLICE. */
void dsm_move_pages(struct dsm_host *host, uint64_t *pages, uint32_t n, uint32_t to);
/* The host that a page is being handed to is lost. */
void dsm_move_lost(struct dsm_host *host, struct dsm_page *page);
/* It will not take any of the pages that are being handed to it. */
void dsm_move_refused(struct dsm_host *host, uint32_t who);

/* ---- leave.c: this host leaves ------------------------------------------------------------- */

int dsm_leave_start(struct dsm_host *host, const struct dsm_event *event);
void dsm_leave_go_on(struct dsm_host *host); /* at the end of a step, and at EV_MORE */
int dsm_leave_on_bye(struct dsm_host *host, uint32_t from, struct dsm_cursor *cursor);
void dsm_leave_host_lost(struct dsm_host *host, uint32_t who);

/* ---- recover.c: a page whose home is gone -------------------------------------------------- */

int dsm_recover_on_ask(struct dsm_host *host, struct dsm_cursor *cursor);
int dsm_recover_on_cut(struct dsm_host *host, struct dsm_cursor *cursor);
void dsm_recover_is_cut(struct dsm_host *host, uint32_t who); /* and all is announced */
int dsm_recover_on_found(struct dsm_host *host, struct dsm_cursor *cursor);
/* A host is lost, or has left: nothing of it is heard from here on. */
void dsm_recover_host_lost(struct dsm_host *host, uint32_t who);

/* ---- single.c: sequential consistency ------------------------------------------------------ */

void dsm_single_fault(struct dsm_host *host, struct dsm_page *page, uint32_t client, bool write);
void dsm_single_evicted(struct dsm_host *host, struct dsm_page *page);
void dsm_single_held(struct dsm_host *host); /* at EV_MORE */
void dsm_single_forget(struct dsm_host *host, uint32_t region);
int dsm_single_on_inv(struct dsm_host *host, struct dsm_cursor *cursor);
int dsm_single_on_give(struct dsm_host *host, struct dsm_cursor *cursor);
int dsm_single_on_own(struct dsm_host *host, struct dsm_cursor *cursor);
int dsm_single_on_none(struct dsm_host *host, struct dsm_cursor *cursor);
int dsm_single_on_copy(struct dsm_host *host, struct dsm_cursor *cursor);
int dsm_single_on_stranded(struct dsm_host *host, struct dsm_cursor *cursor);
int dsm_single_check(const struct dsm_page *page);

/* ---- region.c: a region comes and goes ----------------------------------------------------- */

int dsm_region_attach(struct dsm_host *host, const struct dsm_event *event);
int dsm_region_detach(struct dsm_host *host, const struct dsm_event *event);
int dsm_region_on_region(struct dsm_host *host, struct dsm_cursor *cursor);
int dsm_region_on_drop(struct dsm_host *host, struct dsm_cursor *cursor);

/* ---- evict.c: giving up memory ------------------------------------------------------------- */

int dsm_evict_pages(struct dsm_host *host, const struct dsm_event *event);

#endif

/* Tags of frames: SipHash-2-4 with 128 bits, after J.-P. Aumasson and D. J. Bernstein, "SipHash: a
 * fast short-input PRF", INDOCRYPT 2012, and the 128-bit variant that the authors published with
 * their test vectors (tests/unit/test_seal.py has them).
 *
 * A connection has a key for each direction; the tag covers the frame's number in its direction and
 * all of its bytes, so a frame cannot be made, changed, repeated, dropped or moved by who does not
 * have the key. Nothing is encrypted.
 */
#ifndef DSM_SYS_SEAL_H
#define DSM_SYS_SEAL_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { DSM_TAG_BYTES = 16, DSM_SEAL_KEY_BYTES = 16 };

/* One direction of a connection. All zero: frames have no tags. */
struct dsm_seal {
    bool on;
    uint64_t key[2];
    uint64_t number; /* of the next frame */
};

void dsm_seal_open(struct dsm_seal *seal, const uint8_t key[DSM_SEAL_KEY_BYTES]);
/* The tag of the next frame. */
void dsm_seal_tag(struct dsm_seal *seal, const uint8_t *bytes, size_t len,
                  uint8_t tag[DSM_TAG_BYTES]);
/* Whether this is the next frame's tag; it takes as long whatever is wrong. */
bool dsm_seal_check(struct dsm_seal *seal, const uint8_t *bytes, size_t len,
                    const uint8_t tag[DSM_TAG_BYTES]);

#endif

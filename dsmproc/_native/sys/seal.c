#include "sys/seal.h"
#include "sys/buffer.h"
#include <string.h>

struct state {
    uint64_t v0, v1, v2, v3;
};

static inline uint64_t turned(uint64_t word, unsigned bits) {
    return word << bits | word >> (64 - bits);
}

static inline void round_once(struct state *s) {
    s->v0 += s->v1;
    s->v2 += s->v3;
    s->v1 = turned(s->v1, 13) ^ s->v0;
    s->v3 = turned(s->v3, 16) ^ s->v2;
    s->v0 = turned(s->v0, 32);
    s->v2 += s->v1;
    s->v0 += s->v3;
    s->v1 = turned(s->v1, 17) ^ s->v2;
    s->v3 = turned(s->v3, 21) ^ s->v0;
    s->v2 = turned(s->v2, 32);
}

static inline void take(struct state *s, uint64_t word) {
    s->v3 ^= word;
    round_once(s);
    round_once(s);
    s->v0 ^= word;
}

static uint64_t finish(struct state *s) {
    for (int i = 0; i < 4; i++)
        round_once(s);
    return s->v0 ^ s->v1 ^ s->v2 ^ s->v3;
}

static inline uint64_t word_at(const uint8_t *bytes) {
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    uint64_t word;
    memcpy(&word, bytes, sizeof word);
    return word;
#else
    return dsm_get_le64(bytes);
#endif
}

/* The bytes behind `number`, which is the first word of what is hashed. */
static void siphash(const uint64_t key[2], uint64_t number, const uint8_t *bytes, size_t len,
                    uint8_t tag[DSM_TAG_BYTES]) {
    struct state s = {key[0] ^ 0x736f6d6570736575u, key[1] ^ 0x646f72616e646f6du ^ 0xee,
                      key[0] ^ 0x6c7967656e657261u, key[1] ^ 0x7465646279746573u};
    take(&s, number);
    const uint8_t *end = bytes + len / 8 * 8;
    for (; bytes < end; bytes += 8)
        take(&s, word_at(bytes));
    uint64_t last = (uint64_t)(len + sizeof number) << 56;
    for (size_t i = 0; i < len % 8; i++)
        last |= (uint64_t)bytes[i] << (8 * i);
    take(&s, last);
    s.v2 ^= 0xee;
    dsm_put_le64(tag, finish(&s));
    s.v1 ^= 0xdd;
    dsm_put_le64(tag + 8, finish(&s));
}

void dsm_seal_open(struct dsm_seal *seal, const uint8_t key[DSM_SEAL_KEY_BYTES]) {
    *seal = (struct dsm_seal){.on = true, .key = {dsm_get_le64(key), dsm_get_le64(key + 8)}};
}

void dsm_seal_tag(struct dsm_seal *seal, const uint8_t *bytes, size_t len,
                  uint8_t tag[DSM_TAG_BYTES]) {
    siphash(seal->key, seal->number++, bytes, len, tag);
}

bool dsm_seal_check(struct dsm_seal *seal, const uint8_t *bytes, size_t len,
                    const uint8_t tag[DSM_TAG_BYTES]) {
    uint8_t right[DSM_TAG_BYTES], difference = 0;
    dsm_seal_tag(seal, bytes, len, right);
    for (int i = 0; i < DSM_TAG_BYTES; i++)
        difference |= (uint8_t)(right[i] ^ tag[i]);
    return difference == 0;
}

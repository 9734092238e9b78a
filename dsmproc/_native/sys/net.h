/* Stream sockets: framing, non-blocking reads and writes, descriptors over unix sockets.
 *
 * A frame is u32 length of the body, u8 version, u8 type, u16 how many packed pages end the body
 * (core/pack.c), then the body, then its tag if the connection has them (sys/seal.h); all numbers
 * are little-endian. Nothing here blocks: -EAGAIN says that the socket is empty or full.
 */
#ifndef DSM_SYS_NET_H
#define DSM_SYS_NET_H
#include "sys/buffer.h"
#include "sys/seal.h"
#include <sys/types.h>

enum {
    DSM_FRAME_HEAD = 8,
    DSM_FRAME_VERSION = 2,
    DSM_FRAME_CORE = 1,       /* the body is one message of the protocol core */
    DSM_FRAME_MAX = 96 << 20, /* a longer body is a protocol error */
};

/* Non-blocking, close on exec, no Nagle delay where the socket is TCP. 0 or -errno. */
int dsm_net_prepare(int fd);

/* Open a frame at the buffer's tail and return its mark, or -ENOMEM; append the body; close it. 0
 * or -ENOMEM. */
ssize_t dsm_frame_open(struct dsm_buffer *buffer);
int dsm_frame_close(struct dsm_buffer *buffer, size_t mark, uint32_t packed, struct dsm_seal *seal);
/* The first frame: 1 and its body if the buffer holds it whole (valid until the buffer changes), 0
 * if not yet, -EPROTO if this is no frame. `*whole` is its full length, for dsm_buffer_consume;
 * when 0 is returned it is the length that the buffer must hold before asking again. */
int dsm_frame_first(const struct dsm_buffer *buffer, const struct dsm_seal *seal,
                    const uint8_t **body, uint32_t *len, size_t *whole);
/* How many packed pages end the body that dsm_frame_first has found. */
uint32_t dsm_frame_packed(const uint8_t *body);
/* Before the body of a whole frame counts, once: is it the peer's next? */
bool dsm_frame_genuine(const struct dsm_buffer *buffer, struct dsm_seal *seal, size_t whole);
/* Frames that were closed without tags get them. 0 or -ENOMEM, and the buffer is unchanged. */
int dsm_frames_seal(struct dsm_buffer *buffer, struct dsm_seal *seal);

/* Send from the buffer's head and consume it: bytes sent, or -errno. */
ssize_t dsm_net_send(int fd, struct dsm_buffer *buffer);
/* Append at most `bytes` received bytes: their number, 0 at the end of the stream, or -errno. */
ssize_t dsm_net_receive(int fd, struct dsm_buffer *buffer, size_t bytes);

/* One small message with, if pass >= 0, a descriptor: whole or -errno (a socket too full for it is
 * -EAGAIN). Interrupted by no signal. */
int dsm_net_send_with(int fd, const void *bytes, size_t len, int pass);
/* Append at most `bytes`; a descriptor that came along is stored in `*passed` (closing one that is
 * there already). Number of bytes, 0 at the end of the stream, or -errno. */
ssize_t dsm_net_receive_with(int fd, struct dsm_buffer *buffer, size_t bytes, int *passed);

#endif

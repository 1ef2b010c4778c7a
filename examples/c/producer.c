/* A detector in C: one scan to a daemon over the acknowledged transport (docs/protocol.md, 1.5).

   cc -O2 producer.c -lzmq -o producer
   ./producer tcp://127.0.0.1:5580 SCAN_ID

   Every message is kept until the daemon has it safe. The daemon or the connection may die meanwhile: what it lacks is
   sent again. The daemon needs source.transport = "acknowledged" and source.bind = true. */
#include <stdio.h>
#include <stdlib.h>
#include <zmq.h>

#include "small_msgpack.h"

enum { ROWS = 16, COLUMNS = 32, DARKS = 2, FLATS = 3, PROJECTIONS = 24, KEPT = 100, HEADER = 512 };
enum { PROJECTION = 0, FLAT = 1, DARK = 2 };

typedef struct {
    uint8_t header[HEADER];
    size_t header_size, payload_size;
    uint16_t pixels[ROWS * COLUMNS];
} message;

static message kept[KEPT]; /* message n lies in kept[n % KEPT] */
static uint64_t first, end, next, limit; /* safe below first; exist below end; sent below next; may be sent below limit */
static uint64_t run, heard_daemon, heard_round;
static void *detector;

static void say_hello(void)
{
    uint8_t bytes[HEADER];
    mp_writer w = {bytes, bytes + sizeof bytes};
    mp_map(&w, 5);
    mp_text(&w, "src"), mp_text(&w, "camera in C");
    mp_text(&w, "run"), mp_uint(&w, run);
    mp_text(&w, "first"), mp_uint(&w, first);
    mp_text(&w, "daemon"), mp_uint(&w, heard_daemon);
    mp_text(&w, "round"), mp_uint(&w, heard_round);
    if (zmq_send(detector, "", 0, ZMQ_SNDMORE | ZMQ_DONTWAIT) == 0)
        zmq_send(detector, bytes, (size_t)(w.at - bytes), ZMQ_DONTWAIT);
}

static int send_next(void)
{
    message *m = &kept[next % KEPT];
    uint8_t number[8];
    for (int k = 0; k < 8; k++)
        number[k] = (uint8_t)(next >> 8 * k);
    if (zmq_send(detector, number, 8, ZMQ_SNDMORE | ZMQ_DONTWAIT) < 0)
        return 0;
    zmq_send(detector, m->header, m->header_size, m->payload_size ? ZMQ_SNDMORE : 0);
    if (m->payload_size)
        zmq_send(detector, m->pixels, m->payload_size, 0);
    next++;
    return 1;
}

/* Send what may be sent, then wait for a credit; without one for a second, say hello. */
static void exchange(void)
{
    uint8_t credit[4096];
    zmq_pollitem_t item = {detector, 0, ZMQ_POLLIN, 0};
    while (next < end && next < limit && send_next())
        ;
    int size = zmq_poll(&item, 1, 1000) > 0 ? zmq_recv(detector, credit, sizeof credit, 0) : 0;
    if (size <= 0 || (size_t)size > sizeof credit || mp_find(credit, (size_t)size, "run", 0) != run) {
        say_hello();
        return;
    }
    uint64_t acked = mp_find(credit, (size_t)size, "acked", 0), expected = mp_find(credit, (size_t)size, "next", 0);
    uint64_t daemon = mp_find(credit, (size_t)size, "daemon", 0), round = mp_find(credit, (size_t)size, "round", 0);
    if (acked > first)
        first = acked < end ? acked : end;
    if (daemon != heard_daemon || round != heard_round) { /* messages have to be sent again */
        heard_daemon = daemon, heard_round = round;
        next = expected < end ? expected : end;
    }
    if (next < first)
        next = first;
    limit = mp_find(credit, (size_t)size, "limit", 0);
}

static message *new_message(void)
{
    while (end - first >= KEPT)
        exchange();
    message *m = &kept[end % KEPT];
    m->payload_size = 0;
    return m;
}

/* The keys that every header has. `pairs` is the number of those that follow. */
static mp_writer begin(message *m, uint16_t pairs, const char *type)
{
    mp_writer w = {m->header, m->header + HEADER};
    mp_map(&w, (uint16_t)(pairs + 4));
    mp_text(&w, "magic"), mp_text(&w, "sr");
    mp_text(&w, "v"), mp_uint(&w, 1);
    mp_text(&w, "src"), mp_text(&w, "camera in C");
    mp_text(&w, "t"), mp_text(&w, type);
    return w;
}

static void finish(message *m, mp_writer *w)
{
    m->header_size = (size_t)(w->at - m->header);
    end++;
    if (next < limit)
        send_next();
}

static void start_scan(const char *scan)
{
    message *m = new_message();
    mp_writer w = begin(m, 1, "start");
    mp_text(&w, "spec"), mp_map(&w, 7);
    mp_text(&w, "scan_id"), mp_text(&w, scan);
    mp_text(&w, "sample"), mp_text(&w, "steps");
    mp_text(&w, "rows"), mp_uint(&w, ROWS);
    mp_text(&w, "columns"), mp_uint(&w, COLUMNS);
    mp_text(&w, "darks"), mp_uint(&w, DARKS);
    mp_text(&w, "flats"), mp_uint(&w, FLATS);
    mp_text(&w, "projections"), mp_uint(&w, PROJECTIONS);
    finish(m, &w);
}

static void send_frame(const char *scan, uint64_t index, uint64_t kind, double angle_deg)
{
    message *m = new_message();
    mp_writer w = begin(m, 7, "frame");
    mp_text(&w, "scan"), mp_text(&w, scan);
    mp_text(&w, "i"), mp_uint(&w, index);
    mp_text(&w, "key"), mp_uint(&w, kind);
    mp_text(&w, "ang"), mp_double(&w, angle_deg);
    mp_text(&w, "shape"), mp_array(&w, 2), mp_uint(&w, ROWS), mp_uint(&w, COLUMNS);
    mp_text(&w, "dtype"), mp_text(&w, "<u2");
    mp_text(&w, "size"), mp_uint(&w, sizeof m->pixels);
    for (int k = 0; k < ROWS * COLUMNS; k++) /* a little-endian machine; the pixels say which frame it is */
        m->pixels[k] = (uint16_t)(1000 * (kind != DARK) + 10 * index + k % COLUMNS);
    m->payload_size = sizeof m->pixels;
    finish(m, &w);
}

static void end_scan(const char *scan, uint64_t frames)
{
    message *m = new_message();
    mp_writer w = begin(m, 2, "end");
    mp_text(&w, "scan"), mp_text(&w, scan);
    mp_text(&w, "frames"), mp_uint(&w, frames);
    finish(m, &w);
}

int main(int count, char **words)
{
    if (count != 3) {
        fprintf(stderr, "usage: %s ENDPOINT SCAN_ID\n", words[0]);
        return 2;
    }
    FILE *noise = fopen("/dev/urandom", "rb");
    if (!noise || fread(&run, 6, 1, noise) != 1)
        return 1;
    fclose(noise);
    run++; /* not 0 */
    int yes = 1, none = 0;
    void *context = zmq_ctx_new();
    detector = zmq_socket(context, ZMQ_DEALER);
    zmq_setsockopt(detector, ZMQ_IMMEDIATE, &yes, sizeof yes);
    zmq_setsockopt(detector, ZMQ_LINGER, &none, sizeof none);
    if (zmq_connect(detector, words[1])) {
        fprintf(stderr, "%s: %s\n", words[1], zmq_strerror(zmq_errno()));
        return 2;
    }
    const char *scan = words[2];
    uint64_t index = 0;
    start_scan(scan);
    for (int k = 0; k < DARKS; k++)
        send_frame(scan, index++, DARK, 0.0);
    for (int k = 0; k < FLATS; k++)
        send_frame(scan, index++, FLAT, 0.0);
    for (int k = 0; k < PROJECTIONS; k++)
        send_frame(scan, index++, PROJECTION, 180.0 * k / PROJECTIONS);
    end_scan(scan, index);
    while (first < end) /* until the files of the scan are closed */
        exchange();
    printf("%d frames are safe\n", (int)index);
    zmq_close(detector);
    zmq_ctx_term(context);
    return 0;
}

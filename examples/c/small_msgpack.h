/* As much of MessagePack as a producer needs: maps of short keys with numbers and texts. No memory is allocated. */
#ifndef SMALL_MSGPACK_H
#define SMALL_MSGPACK_H

#include <stdint.h>
#include <string.h>

typedef struct {
    uint8_t *at, *end; /* what does not fit is left out, and at > end then */
} mp_writer;

static void mp_bytes(mp_writer *w, const void *bytes, size_t size)
{
    if (w->at <= w->end && size <= (size_t)(w->end - w->at))
        memcpy(w->at, bytes, size);
    w->at += size;
}

static void mp_big_endian(mp_writer *w, uint8_t type, uint64_t value, int size)
{
    uint8_t bytes[9] = {type};
    for (int k = 0; k < size; k++)
        bytes[1 + k] = (uint8_t)(value >> 8 * (size - 1 - k));
    mp_bytes(w, bytes, 1 + (size_t)size);
}

static void mp_map(mp_writer *w, uint16_t pairs) { mp_big_endian(w, 0xde, pairs, 2); }
static void mp_array(mp_writer *w, uint16_t items) { mp_big_endian(w, 0xdc, items, 2); }
static void mp_uint(mp_writer *w, uint64_t value) { mp_big_endian(w, 0xcf, value, 8); }

static void mp_text(mp_writer *w, const char *text)
{
    mp_big_endian(w, 0xda, strlen(text), 2);
    mp_bytes(w, text, strlen(text));
}

static void mp_double(mp_writer *w, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    mp_big_endian(w, 0xcb, bits, 8);
}

typedef struct {
    const uint8_t *at, *end;
} mp_reader;

static uint64_t mp_take(mp_reader *r, int size)
{
    uint64_t value = 0;
    for (int k = 0; k < size; k++, r->at++)
        value = value << 8 | (r->at < r->end ? *r->at : 0);
    return value;
}

/* Reads a number or a text; gives 1 and a number, 2 and a text, or 0 for anything else. */
static int mp_value(mp_reader *r, uint64_t *number, const char **text, size_t *length)
{
    uint8_t type = (uint8_t)mp_take(r, 1);
    *number = 0;
    if (type < 0x80) {
        *number = type;
        return 1;
    }
    if (type >= 0xcc && type <= 0xcf) {
        *number = mp_take(r, 1 << (type - 0xcc));
        return 1;
    }
    if (type >= 0xa0 && type < 0xc0)
        *length = type & 31;
    else if (type >= 0xd9 && type <= 0xdb)
        *length = mp_take(r, 1 << (type - 0xd9));
    else
        return 0;
    *text = (const char *)r->at;
    if (r->at > r->end || *length > (size_t)(r->end - r->at))
        return 0;
    r->at += *length;
    return 2;
}

/* The value of a key in a map of numbers and texts; `otherwise` when it is not there. */
static uint64_t mp_find(const void *data, size_t size, const char *key, uint64_t otherwise)
{
    mp_reader r = {data, (const uint8_t *)data + size};
    uint8_t type = (uint8_t)mp_take(&r, 1);
    uint64_t pairs = type >= 0x80 && type < 0x90 ? type & 15u : type == 0xde ? mp_take(&r, 2) : 0;
    while (pairs-- > 0) {
        uint64_t number;
        const char *text = "", *name = "";
        size_t length = 0, named = 0;
        if (mp_value(&r, &number, &name, &named) != 2)
            return otherwise;
        int found = named == strlen(key) && !memcmp(name, key, named);
        int kind = mp_value(&r, &number, &text, &length);
        if (!kind)
            return otherwise;
        if (found)
            return kind == 1 ? number : otherwise;
    }
    return otherwise;
}

#endif

/*
 * Owns UTF-8: TextEncoder and TextDecoder as the Encoding standard defines them (utf-8 only, no streaming). The engine's
 * own conversions differ in two points that are repaired here: unpaired surrogates and malformed bytes.
 */
#include <stdlib.h>
#include <string.h>

#include "native.h"

/* The constructor, set at install. */
static JSValue uint8_array;

JSValue new_bytes(JSContext *ctx, const uint8_t *bytes, size_t length)
{
    JSValue buffer = JS_NewArrayBufferCopy(ctx, bytes, length);
    JSValue array;

    if (JS_IsException(buffer))
        return buffer;
    array = JS_CallConstructor(ctx, uint8_array, 1, (JSValueConst *)&buffer);
    JS_FreeValue(ctx, buffer);
    return array;
}

/* The engine writes an unpaired surrogate as three bytes ED A0..BF xx; U+FFFD has three bytes too. */
static void replace_surrogates(uint8_t *bytes, size_t length)
{
    uint8_t *at = bytes, *end = bytes + length;

    while ((at = memchr(at, 0xED, (size_t)(end - at)))) {
        if (end - at >= 3 && at[1] >= 0xA0) {
            at[0] = 0xEF;
            at[1] = 0xBF;
            at[2] = 0xBD;
            at += 3;
        } else {
            at++;
        }
    }
}

static const char *encode_argument(JSContext *ctx, int argc, JSValueConst *argv, size_t *length)
{
    if (argc < 1 || JS_IsUndefined(argv[0])) {
        JSValue empty = JS_NewString(ctx, "");
        const char *text = JS_ToCStringLen(ctx, length, empty);
        JS_FreeValue(ctx, empty);
        return text;
    }
    return JS_ToCStringLen(ctx, length, argv[0]);
}

static JSValue encoder_encode(JSContext *ctx, JSValueConst this_value, int argc, JSValueConst *argv)
{
    size_t length, size;
    const char *text = encode_argument(ctx, argc, argv, &length);
    uint8_t *bytes;
    JSValue array;

    (void)this_value;
    if (!text)
        return JS_EXCEPTION;
    array = new_bytes(ctx, (const uint8_t *)text, length);
    JS_FreeCString(ctx, text);
    if (JS_IsException(array))
        return array;
    if (value_bytes(ctx, array, &bytes, &size)) {
        JS_FreeValue(ctx, array);
        return JS_EXCEPTION;
    }
    replace_surrogates(bytes, size);
    return array;
}

/* Length of the well-formed sequence at `at`; 0 for a malformed one, whose maximal part is `*bad` bytes long. */
static size_t sequence_length(const uint8_t *at, const uint8_t *end, size_t *bad)
{
    uint8_t first = at[0], low = 0x80, high = 0xBF;
    size_t need, i;

    *bad = 1;
    if (first < 0x80)
        return 1;
    if (first >= 0xC2 && first <= 0xDF)
        need = 2;
    else if (first >= 0xE0 && first <= 0xEF)
        need = 3;
    else if (first >= 0xF0 && first <= 0xF4)
        need = 4;
    else
        return 0;
    if (first == 0xE0)
        low = 0xA0;
    else if (first == 0xED)
        high = 0x9F;
    else if (first == 0xF0)
        low = 0x90;
    else if (first == 0xF4)
        high = 0x8F;
    for (i = 1; i < need; i++) {
        if (at + i >= end || at[i] < low || at[i] > high) {
            *bad = i;
            return 0;
        }
        low = 0x80;
        high = 0xBF;
    }
    return need;
}

/* First malformed position, or `end`. */
static const uint8_t *first_malformed(const uint8_t *at, const uint8_t *end)
{
    size_t bad, length;

    while (at < end) {
        uint64_t eight;
        if (end - at >= 8 && (memcpy(&eight, at, 8), (eight & 0x8080808080808080) == 0)) {
            at += 8;
            continue;
        }
        length = sequence_length(at, end, &bad);
        if (length == 0)
            break;
        at += length;
    }
    return at;
}

/* Decodes with U+FFFD for each malformed maximal part. `at` is the first malformed position. */
static JSValue decode_repaired(JSContext *ctx, const uint8_t *start, const uint8_t *at, const uint8_t *end)
{
    size_t prefix = (size_t)(at - start), bad, length, out;
    /* Each malformed byte becomes three at most. */
    uint8_t *repaired = js_malloc(ctx, prefix + 3 * (size_t)(end - at) + 1);
    JSValue text;

    if (!repaired)
        return JS_EXCEPTION;
    memcpy(repaired, start, prefix);
    out = prefix;
    while (at < end) {
        length = sequence_length(at, end, &bad);
        if (length > 0) {
            memcpy(repaired + out, at, length);
            out += length;
            at += length;
        } else {
            memcpy(repaired + out, "\xEF\xBF\xBD", 3);
            out += 3;
            at += bad;
        }
    }
    text = JS_NewStringLen(ctx, (const char *)repaired, out);
    js_free(ctx, repaired);
    return text;
}

static int flag(JSContext *ctx, JSValueConst object, const char *name)
{
    JSValue value = JS_GetPropertyStr(ctx, object, name);
    int on = JS_ToBool(ctx, value);
    JS_FreeValue(ctx, value);
    return on;
}

static JSValue decoder_decode(JSContext *ctx, JSValueConst this_value, int argc, JSValueConst *argv)
{
    uint8_t *start;
    const uint8_t *end, *malformed;
    size_t length;
    int fatal = flag(ctx, this_value, "fatal"), keep_mark = flag(ctx, this_value, "ignoreBOM");

    if (fatal < 0 || keep_mark < 0)
        return JS_EXCEPTION;
    if (argc < 1 || JS_IsUndefined(argv[0]))
        return JS_NewString(ctx, "");
    if (argc > 1 && JS_IsObject(argv[1]) && flag(ctx, argv[1], "stream"))
        return JS_ThrowTypeError(ctx, "TextDecoder.decode: streaming is not offered");
    if (value_bytes(ctx, argv[0], &start, &length))
        return JS_EXCEPTION;
    if (!keep_mark && length >= 3 && memcmp(start, "\xEF\xBB\xBF", 3) == 0) {
        start += 3;
        length -= 3;
    }
    end = start + length;
    malformed = first_malformed(start, end);
    if (malformed == end)
        return JS_NewStringLen(ctx, (const char *)start, length);
    if (fatal)
        return JS_ThrowTypeError(ctx, "TextDecoder.decode: malformed UTF-8 at byte %lld", (long long)(malformed - start));
    return decode_repaired(ctx, start, malformed, end);
}

static JSValue encoder_construct(JSContext *ctx, JSValueConst target, int argc, JSValueConst *argv)
{
    JSValue prototype = JS_GetPropertyStr(ctx, target, "prototype");
    JSValue object = JS_NewObjectProto(ctx, prototype);

    (void)argc, (void)argv;
    JS_FreeValue(ctx, prototype);
    return object;
}

static JSValue decoder_construct(JSContext *ctx, JSValueConst target, int argc, JSValueConst *argv)
{
    JSValue object = encoder_construct(ctx, target, 0, NULL);
    int fatal = 0, keep_mark = 0;

    if (JS_IsException(object))
        return object;
    if (argc > 0 && !JS_IsUndefined(argv[0])) {
        const char *label = JS_ToCString(ctx, argv[0]);
        int known = label && (!strcmp(label, "utf-8") || !strcmp(label, "utf8") || !strcmp(label, "UTF-8"));
        JS_FreeCString(ctx, label);
        if (!known) {
            JS_FreeValue(ctx, object);
            return label ? JS_ThrowRangeError(ctx, "TextDecoder: only utf-8 is offered") : JS_EXCEPTION;
        }
    }
    if (argc > 1 && JS_IsObject(argv[1])) {
        fatal = flag(ctx, argv[1], "fatal");
        keep_mark = flag(ctx, argv[1], "ignoreBOM");
    }
    if (fatal < 0 || keep_mark < 0 || JS_SetPropertyStr(ctx, object, "fatal", JS_NewBool(ctx, fatal)) < 0 ||
        JS_SetPropertyStr(ctx, object, "ignoreBOM", JS_NewBool(ctx, keep_mark)) < 0) {
        JS_FreeValue(ctx, object);
        return JS_EXCEPTION;
    }
    return object;
}

/* Bytes that a string takes in UTF-8. */
static JSValue text_length(JSContext *ctx, JSValueConst this_value, int argc, JSValueConst *argv)
{
    size_t length;
    const char *text = encode_argument(ctx, argc, argv, &length);

    (void)this_value;
    if (!text)
        return JS_EXCEPTION;
    JS_FreeCString(ctx, text);
    return JS_NewInt64(ctx, (int64_t)length);
}

/* text, buffer, offset: writes the UTF-8 bytes there and returns their number; RangeError when they do not fit. */
static JSValue text_write(JSContext *ctx, JSValueConst this_value, int argc, JSValueConst *argv)
{
    size_t length, size;
    int64_t offset;
    uint8_t *bytes;
    const char *text;

    (void)this_value;
    if (argc < 3)
        return JS_ThrowTypeError(ctx, "string, array and offset are needed");
    text = encode_argument(ctx, argc, argv, &length);
    if (!text)
        return JS_EXCEPTION;
    if (value_bytes(ctx, argv[1], &bytes, &size) || value_integer(ctx, argv[2], 0, (int64_t)size, &offset)) {
        JS_FreeCString(ctx, text);
        return JS_EXCEPTION;
    }
    if (length > size - (size_t)offset) {
        JS_FreeCString(ctx, text);
        return JS_ThrowRangeError(ctx, "the string does not fit");
    }
    memcpy(bytes + offset, text, length);
    replace_surrogates(bytes + offset, length);
    JS_FreeCString(ctx, text);
    return JS_NewInt64(ctx, (int64_t)length);
}

/* buffer, start, end: the string of these bytes, malformed ones replaced. */
static JSValue text_read(JSContext *ctx, JSValueConst this_value, int argc, JSValueConst *argv)
{
    uint8_t *bytes;
    const uint8_t *malformed;
    size_t size;
    int64_t start, end;

    (void)this_value;
    if (argc < 3)
        return JS_ThrowTypeError(ctx, "array, start and end are needed");
    if (value_bytes(ctx, argv[0], &bytes, &size) || value_integer(ctx, argv[2], 0, (int64_t)size, &end) ||
        value_integer(ctx, argv[1], 0, end, &start))
        return JS_EXCEPTION;
    malformed = first_malformed(bytes + start, bytes + end);
    if (malformed == bytes + end)
        return JS_NewStringLen(ctx, (const char *)bytes + start, (size_t)(end - start));
    return decode_repaired(ctx, bytes + start, malformed, bytes + end);
}

static const JSCFunctionListEntry encoder_prototype[] = {
    JS_CFUNC_DEF("encode", 1, encoder_encode),
    JS_PROP_STRING_DEF("encoding", "utf-8", 0),
};

static const JSCFunctionListEntry decoder_prototype[] = {
    JS_CFUNC_DEF("decode", 1, decoder_decode),
    JS_PROP_STRING_DEF("encoding", "utf-8", 0),
};

static const JSCFunctionListEntry functions[] = {
    JS_CFUNC_DEF("utf8Length", 1, text_length),
    JS_CFUNC_DEF("utf8Write", 3, text_write),
    JS_CFUNC_DEF("utf8Read", 3, text_read),
};

static int install_class(JSContext *ctx, JSValueConst global, const char *name, JSCFunction *construct,
                         const JSCFunctionListEntry *entries, int count)
{
    JSValue class = JS_NewCFunction2(ctx, construct, name, 0, JS_CFUNC_constructor, 0);
    JSValue prototype = JS_NewObject(ctx);

    if (JS_IsException(class) || JS_IsException(prototype))
        return -1;
    JS_SetPropertyFunctionList(ctx, prototype, entries, count);
    JS_SetConstructor(ctx, class, prototype);
    JS_FreeValue(ctx, prototype);
    return JS_DefinePropertyValueStr(ctx, global, name, class, JS_PROP_WRITABLE | JS_PROP_CONFIGURABLE) < 0 ? -1 : 0;
}

int text_install(JSContext *ctx, JSValueConst global, JSValueConst module)
{
    uint8_array = JS_GetPropertyStr(ctx, global, "Uint8Array");
    if (JS_IsException(uint8_array))
        return -1;
    JS_SetPropertyFunctionList(ctx, module, functions, sizeof functions / sizeof functions[0]);
    if (install_class(ctx, global, "TextEncoder", encoder_construct, encoder_prototype,
                      sizeof encoder_prototype / sizeof encoder_prototype[0]) ||
        install_class(ctx, global, "TextDecoder", decoder_construct, decoder_prototype,
                      sizeof decoder_prototype / sizeof decoder_prototype[0]))
        return -1;
    return 0;
}

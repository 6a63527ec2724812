// SPDX-License-Identifier: Apache-2.0
// Unpacking with liblzma, zlib, liblz4 and libzstd.
#include "machine/loader/decompress.h"

#include <fmt/format.h>
#include <lz4.h>
#include <lzma.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <iterator>

namespace droste {

namespace {

constexpr std::size_t chunk = 1u << 20;
constexpr std::string_view remedy = "set boot.decompress = \"guest\" or fetch the file again";

Error too_large(std::string_view name, u64 most) {
    return {fmt::format("{}: its payload unpacks to more than {} bytes; {}", name, most, remedy)};
}

Result<std::vector<u8>> unpack_xz(Bytes packed, std::string_view name, u64 most) {
    lzma_stream stream = LZMA_STREAM_INIT;
    constexpr u64 most_host_memory = 256u << 20;
    if (lzma_stream_decoder(&stream, most_host_memory, 0) != LZMA_OK)
        return Error{fmt::format("{}: liblzma gives no decoder; free some host memory", name)};
    std::vector<u8> out;
    stream.next_in = packed.data();
    stream.avail_in = packed.size();
    lzma_ret status = LZMA_OK;
    while (status == LZMA_OK && out.size() <= most) {
        const std::size_t used = out.size();
        out.resize(used + chunk);
        stream.next_out = out.data() + used;
        stream.avail_out = chunk;
        status = lzma_code(&stream, LZMA_FINISH);
        out.resize(out.size() - stream.avail_out);
    }
    lzma_end(&stream);
    if (out.size() > most)
        return too_large(name, most);
    if (status != LZMA_STREAM_END)
        return Error{
            fmt::format("{}: its XZ payload is damaged (liblzma code {}); {}", name, int(status), remedy)};
    return out;
}

Result<std::vector<u8>> unpack_gzip(Bytes packed, std::string_view name, u64 most) {
    z_stream stream{};
    constexpr int gzip_wrapper = 16;
    if (inflateInit2(&stream, MAX_WBITS + gzip_wrapper) != Z_OK)
        return Error{fmt::format("{}: zlib gives no decoder; free some host memory", name)};
    std::vector<u8> out;
    stream.next_in = const_cast<Bytef*>(packed.data());
    stream.avail_in = static_cast<uInt>(std::min<u64>(packed.size(), ~uInt{0}));
    int status = Z_OK;
    while (status == Z_OK && out.size() <= most) {
        const std::size_t used = out.size();
        out.resize(used + chunk);
        stream.next_out = out.data() + used;
        stream.avail_out = chunk;
        status = inflate(&stream, Z_NO_FLUSH);
        out.resize(out.size() - stream.avail_out);
    }
    inflateEnd(&stream);
    if (out.size() > most)
        return too_large(name, most);
    if (status != Z_STREAM_END)
        return Error{fmt::format("{}: its gzip payload is damaged (zlib code {}); {}", name, status, remedy)};
    return out;
}

/// The "legacy" framing that Linux uses: a magic word, then blocks of at most 8 MiB unpacked, each with its
/// length.
Result<std::vector<u8>> unpack_lz4(Bytes packed, std::string_view name, u64 most) {
    constexpr u64 block = 8u << 20;
    std::vector<u8> out;
    u64 at = 4;
    while (const auto size = read_at<u32>(packed, at)) {
        const auto part = part_of(packed, at + 4, *size);
        // After the last block Linux appends the unpacked size, which names no block of that length.
        if (!part || *size == 0)
            break;
        if (out.size() > most)
            return too_large(name, most);
        const std::size_t used = out.size();
        out.resize(used + block);
        const int got =
            LZ4_decompress_safe(reinterpret_cast<const char*>(part->data()),
                                reinterpret_cast<char*>(out.data() + used), static_cast<int>(*size), block);
        if (got < 0)
            return Error{
                fmt::format("{}: its LZ4 payload is damaged after {} bytes; {}", name, used, remedy)};
        out.resize(used + static_cast<std::size_t>(got));
        at += 4 + u64{*size};
    }
    if (out.empty() || packed.size() - at > 4)
        return Error{fmt::format("{}: its LZ4 payload is truncated; {}", name, remedy)};
    return out;
}

Result<std::vector<u8>> unpack_zstd(Bytes packed, std::string_view name, u64 most) {
    ZSTD_DStream* stream = ZSTD_createDStream();
    if (stream == nullptr)
        return Error{fmt::format("{}: libzstd gives no decoder; free some host memory", name)};
    ZSTD_DCtx_setParameter(stream, ZSTD_d_windowLogMax, 27);
    std::vector<u8> out;
    ZSTD_inBuffer in{packed.data(), packed.size(), 0};
    std::size_t left = 1;
    bool stuck = false;
    while (left != 0 && !ZSTD_isError(left) && !stuck && out.size() <= most) {
        const std::size_t used = out.size(), read = in.pos;
        out.resize(used + chunk);
        ZSTD_outBuffer to{out.data() + used, chunk, 0};
        left = ZSTD_decompressStream(stream, &to, &in);
        out.resize(used + to.pos);
        stuck = to.pos == 0 && in.pos == read;  // the frame is not complete and there is no more input
    }
    ZSTD_freeDStream(stream);
    if (out.size() > most)
        return too_large(name, most);
    if (left != 0)
        return Error{fmt::format("{}: its zstd payload is damaged; {}", name, remedy)};
    return out;
}

struct Format {
    std::string_view name;
    std::string_view magic;
    Result<std::vector<u8>> (*unpack)(Bytes, std::string_view, u64);
};
using namespace std::string_view_literals;
constexpr Format formats[] = {
    {"XZ",
     "\xFD"
     "7zXZ\0"sv,
     unpack_xz},
    {"gzip", "\x1F\x8B\x08"sv, unpack_gzip},
    {"bzip2", "BZh"sv, nullptr},
    {"LZMA", "\x5D\0\0"sv, nullptr},
    {"LZO", "\x89LZO"sv, nullptr},
    {"LZ4", "\x02!L\x18"sv, unpack_lz4},
    {"zstd", "\x28\xB5\x2F\xFD"sv, unpack_zstd},
};

}  // namespace

Result<std::vector<u8>> decompress(Bytes packed, std::string_view name, u64 most) {
    for (const Format& f : formats) {
        if (packed.size() < f.magic.size() || !std::equal(f.magic.begin(), f.magic.end(), packed.begin(),
                                                          [](char a, u8 b) { return u8(a) == b; }))
            continue;
        if (f.unpack != nullptr)
            return f.unpack(packed, name, most);
        return Error{fmt::format("{}: its payload is packed with {}, which the loader cannot unpack; set "
                                 "boot.decompress = \"guest\"",
                                 name, f.name)};
    }
    return Error{
        fmt::format("{}: its payload is packed in no known format; set boot.decompress = \"guest\"", name)};
}

}  // namespace droste

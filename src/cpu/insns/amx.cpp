// SPDX-License-Identifier: Apache-2.0
// AMX: tile configuration, loads, stores and dot products (SDM "Intel Advanced Matrix Extensions").
#include <immintrin.h>

#include <algorithm>
#include <bit>

#include "cpu/insns/tables.h"
#include "cpu/insns/vector_state.h"
#include "cpu/interp/handlers.h"
#include "cpu/thunk/masked_memory.h"
#include "cpu/thunk/thunk.h"

namespace droste {

namespace {

using Tile = std::array<u8, palette1::bytes_per_tile>;

/// SDM "Exceptions Type AMX-E1" and its like: what #UD and #NM depend on beside the tiles.
bool unavailable(const Cpu& cpu) {
    return !(cpu.cr4 & cr4_bits::osxsave) || (cpu.xcr0 & vector_state::amx) != vector_state::amx;
}
bool data_disabled(const Cpu& cpu) { return bit(cpu.amx.xfd, vector_state::tiledata); }
Outcome raise_disabled(Cpu& cpu) {
    cpu.amx.xfd_err = 1ull << vector_state::tiledata;
    return cpu.raise(Fault::of(Vector::nm));
}

bool configured(const Cpu& cpu) { return cpu.amx.config[tile_config::palette] != 0; }
unsigned rows_of(const Cpu& cpu, unsigned tile) { return tile_rows(cpu.amx.config, tile); }
unsigned columns_of(const Cpu& cpu, unsigned tile) { return tile_columns(cpu.amx.config, tile); }
bool tile_usable(const Cpu& cpu, unsigned tile) { return configured(cpu) && rows_of(cpu, tile) != 0; }
u8* row_of(Cpu& cpu, unsigned tile, unsigned row) {
    return cpu.amx.tile[tile].data() + row * palette1::bytes_per_row;
}

void initialise(Cpu& cpu) {
    cpu.amx.config = {};
    cpu.amx.tile = {};
}

Outcome ldtilecfg(Cpu& cpu, const Insn& in) {
    if (unavailable(cpu)) return cpu.ud();
    TileConfig c;
    if (!cpu.load(in, c)) return cpu.failed();
    if (!tile_config_valid(c)) return cpu.gp0();
    initialise(cpu);
    if (c[tile_config::palette] != 0) cpu.amx.config = c;
    return Outcome::next;
}

Outcome sttilecfg(Cpu& cpu, const Insn& in) {
    if (unavailable(cpu)) return cpu.ud();
    if (!cpu.store(in, cpu.amx.config)) return cpu.failed();
    return Outcome::next;
}

Outcome tilerelease(Cpu& cpu, const Insn&) {
    if (unavailable(cpu)) return cpu.ud();
    initialise(cpu);
    return Outcome::next;
}

Outcome tilezero(Cpu& cpu, const Insn& in) {
    if (unavailable(cpu)) return cpu.ud();
    if (data_disabled(cpu)) return raise_disabled(cpu);
    if (!tile_usable(cpu, in.reg)) return cpu.ud();
    cpu.amx.tile[in.reg] = {};
    cpu.amx.config[tile_config::start_row] = 0;
    return Outcome::next;
}

/// One row of a tile in memory: `size` bytes, whole or not at all.
bool move_row(Cpu& cpu, const Insn& in, u64 ea, u8* data, unsigned size, Access access) {
    u64 linear;
    if (!element_address(cpu, in, ea, 0, size, access, linear)) return false;
    const bool write = access == Access::write;
    if (u8* const p = cpu.bulk(linear, size, access)) {
        if (write) std::memcpy(p, data, size);
        else std::memcpy(data, p, size);
        return true;
    }
    if (write ? !cpu.probe_write(in.seg(), linear, size) : !cpu.probe_read(in.seg(), linear, size)) return false;
    for (unsigned done = 0; done < size;) {
        const unsigned n = std::min(std::bit_floor(size - done), 8u);
        const bool moved = write ? store_sized(cpu, in.seg(), linear + done, data + done, n)
                                 : load_sized(cpu, in.seg(), linear + done, data + done, n);
        if (!moved) return false;
        done += n;
    }
    return true;
}

/// TILELOADD and TILESTORED go row by row from start_row; a fault leaves the row to go on with.
template <Access access> Outcome move_tile(Cpu& cpu, const Insn& in) {
    if (unavailable(cpu)) return cpu.ud();
    if (data_disabled(cpu)) return raise_disabled(cpu);
    if (!tile_usable(cpu, in.reg)) return cpu.ud();
    const unsigned rows = rows_of(cpu, in.reg), columns = columns_of(cpu, in.reg);
    u8& start_row = cpu.amx.config[tile_config::start_row];
    if (start_row >= rows || columns % 4 != 0) return cpu.ud();
    // Observed: what a load has not come to yet is zero after the fault.
    const auto clear_from = [&](unsigned row) {
        if (access == Access::read)
            std::memset(row_of(cpu, in.reg, row), 0, (palette1::rows - row) * palette1::bytes_per_row);
    };
    const u64 stride = cpu.gpr[in.index] << in.scale();
    u64 ea = cpu.gpr[in.base] + static_cast<u64>(static_cast<i64>(in.disp)) + start_row * stride;
    cpu.running = &in;
    for (unsigned r = start_row; r < rows; ++r, ea += stride) {
        u8* const row = row_of(cpu, in.reg, r);
        if (!move_row(cpu, in, ea, row, columns, access)) {
            clear_from(r);
            start_row = static_cast<u8>(r);
            return cpu.failed();
        }
        if constexpr (access == Access::read)
            std::memset(row + columns, 0, palette1::bytes_per_row - columns);
    }
    clear_from(rows);
    start_row = 0;
    return Outcome::next;
}

/// A dot product: dst (ModRM.reg, M x N) += a (ModRM.rm, M x K) * b (VEX.vvvv, K x N), in dwords.
struct Product {
    unsigned m, k, n;
    const u8 *a, *b;
    u8* c;
    template <class T> T get(const u8* tile, unsigned row, unsigned dword) const {
        T v;
        std::memcpy(&v, tile + row * palette1::bytes_per_row + 4 * dword, 4);
        return v;
    }
    template <class T> void put(unsigned row, unsigned dword, T v) const {
        std::memcpy(c + row * palette1::bytes_per_row + 4 * dword, &v, 4);
    }
};

/// SDM "TDPBSSD", "TDPBF16PS": the shapes must fit.
bool shapes_fit(const Cpu& cpu, unsigned dst, unsigned a, unsigned b) {
    for (const unsigned t : {dst, a, b})
        if (!tile_usable(cpu, t) || columns_of(cpu, t) % 4 != 0) return false;
    return rows_of(cpu, dst) == rows_of(cpu, a) && columns_of(cpu, dst) == columns_of(cpu, b) &&
           columns_of(cpu, a) / 4 == rows_of(cpu, b);
}

template <void (*multiply)(const Product&)> Outcome dot_product(Cpu& cpu, const Insn& in) {
    if (unavailable(cpu)) return cpu.ud();
    const unsigned dst = in.reg, a = in.rm, b = in.thunk->vvvv_number;
    if (data_disabled(cpu)) return raise_disabled(cpu);
    if (!shapes_fit(cpu, dst, a, b)) return cpu.ud();
    multiply({.m = rows_of(cpu, dst), .k = columns_of(cpu, a) / 4, .n = columns_of(cpu, dst) / 4,
              .a = cpu.amx.tile[a].data(), .b = cpu.amx.tile[b].data(), .c = cpu.amx.tile[dst].data()});
    // What lies beyond the shape becomes zero.
    for (unsigned r = 0; r < palette1::rows; ++r) {
        const unsigned used = r < rows_of(cpu, dst) ? columns_of(cpu, dst) : 0;
        std::memset(row_of(cpu, dst, r) + used, 0, palette1::bytes_per_row - used);
    }
    cpu.amx.config[tile_config::start_row] = 0;
    return Outcome::next;
}

/// Four products of bytes, signed or not, into a dword without saturation.
template <class A, class B> void multiply_bytes(const Product& p) {
    for (unsigned m = 0; m < p.m; ++m)
        for (unsigned n = 0; n < p.n; ++n) {
            u32 sum = p.get<u32>(p.c, m, n);
            for (unsigned k = 0; k < p.k; ++k) {
                const auto x = p.get<std::array<A, 4>>(p.a, m, k);
                const auto y = p.get<std::array<B, 4>>(p.b, k, n);
                for (unsigned i = 0; i < 4; ++i) sum += static_cast<u32>(i32{x[i]} * i32{y[i]});
            }
            p.put(m, n, sum);
        }
}

// Of several NaNs the first operand's is the result, so the order of the operands is the instruction's, not the
// compiler's. Observed order on Sapphire Rapids.
__m128 fused(__m128 x, __m128 y, __m128 sum) {
    asm volatile("vfmadd231ps %2, %1, %0" : "+x"(sum) : "x"(x), "x"(y));  // sum += x * y
    return sum;
}
__m128 added(__m128 a, __m128 b) {
    asm volatile("addss %1, %0" : "+x"(a) : "x"(b));
    return a;
}

/// Pairs of BFloat16: even and odd elements are summed apart by fused multiply-add, then added to each other and to
/// the destination; denormals are zero, rounding is to nearest whatever MXCSR says.
void multiply_bf16(const Product& p) {
    constexpr unsigned flush_to_nearest = 0x9FC0, usual = 0x1F80;
    _mm_setcsr(flush_to_nearest);
    for (unsigned m = 0; m < p.m; ++m)
        for (unsigned n = 0; n < p.n; ++n) {
            __m128 sum = _mm_setzero_ps();
            for (unsigned k = 0; k < p.k; ++k) {
                const u32 x = p.get<u32>(p.a, m, k), y = p.get<u32>(p.b, k, n);
                const auto pair = [](u32 v) {
                    return _mm_castsi128_ps(_mm_set_epi32(0, 0, static_cast<int>(v & 0xFFFF0000),
                                                          static_cast<int>(v << 16)));
                };
                sum = fused(pair(x), pair(y), sum);
            }
            const __m128 odd = _mm_shuffle_ps(sum, sum, 1);
            const __m128 both = added(sum, odd);
            const __m128 old = _mm_castsi128_ps(_mm_cvtsi32_si128(p.get<i32>(p.c, m, n)));
            p.put(m, n, _mm_cvtsi128_si32(_mm_castps_si128(added(old, both))));
        }
    _mm_setcsr(usual);
}

consteval InsnRow amx(std::string_view name, Encoding e, Operands o, Code body, Feature needs = Feature::amx_tile,
                      u32 more = 0) {
    return {name, e, o, body, needs, traits::only64 | more, {}, Domain::amx};
}
/// With the third tile in VEX.vvvv.
consteval InsnRow product(std::string_view name, Encoding e, Code body, Feature needs) {
    return amx(name, e, "+TG, TU, TH"_operands, body, needs, traits::host_thunk);
}

constexpr auto rows = std::to_array<InsnRow>({
    amx("LDTILECFG", "VEX.128.NP.0F38.W0 49 /0 mem"_op, "Mx"_operands, code<ldtilecfg>()),
    amx("STTILECFG", "VEX.128.66.0F38.W0 49 /0 mem"_op, "=Mx"_operands, code<sttilecfg>()),
    amx("TILERELEASE", "VEX.128.NP.0F38.W0 49 C0"_op, ""_operands, code<tilerelease>()),
    amx("TILEZERO", "VEX.128.F2.0F38.W0 49 /r reg"_op, "=TG"_operands, code<tilezero>()),
    amx("TILELOADD", "VEX.128.F2.0F38.W0 4B /r mem"_op, "=TG, TM"_operands, code<move_tile<Access::read>>()),
    amx("TILELOADDT1", "VEX.128.66.0F38.W0 4B /r mem"_op, "=TG, TM"_operands, code<move_tile<Access::read>>()),
    amx("TILESTORED", "VEX.128.F3.0F38.W0 4B /r mem"_op, "=TM, TG"_operands, code<move_tile<Access::write>>()),
    product("TDPBSSD", "VEX.128.F2.0F38.W0 5E /r reg"_op, code<dot_product<multiply_bytes<i8, i8>>>(),
        Feature::amx_int8),
    product("TDPBSUD", "VEX.128.F3.0F38.W0 5E /r reg"_op, code<dot_product<multiply_bytes<i8, u8>>>(),
        Feature::amx_int8),
    product("TDPBUSD", "VEX.128.66.0F38.W0 5E /r reg"_op, code<dot_product<multiply_bytes<u8, i8>>>(),
        Feature::amx_int8),
    product("TDPBUUD", "VEX.128.NP.0F38.W0 5E /r reg"_op, code<dot_product<multiply_bytes<u8, u8>>>(),
        Feature::amx_int8),
    product("TDPBF16PS", "VEX.128.F3.0F38.W0 5C /r reg"_op, code<dot_product<multiply_bf16>>(),
        Feature::amx_bf16),
});

}  // namespace

RowSpan amx_rows() { return rows; }

}  // namespace droste

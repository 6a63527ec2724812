// SPDX-License-Identifier: Apache-2.0
// ChainNumbers: small numbers for chains of (VPID, EPTP), so that translations can be tagged by a whole chain.
#pragma once
#include <vector>

#include "base/types.h"

namespace droste {

/// A chain is a path in a tree: each row is one layer on top of another chain. Numbers are never used twice, and
/// number 0 is the chain without layers.
class ChainNumbers {
public:
    struct Row {
        u32 number = 0;
        u32 beneath = 0;
        bool ept = false;
        u8 variant = 0;  ///< GuestPagingControls::variant
        u16 vpid = 0;
        u64 eptp = 0;
    };
    /// The rows are forgotten when there are so many; whoever tags by them has to forget too.
    static constexpr std::size_t most_rows = 1024;

    bool full() const { return rows_.size() >= most_rows; }
    void clear() { rows_.clear(); }
    u32 number_of(Row r) {
        for (const Row& row : rows_)
            if (row.beneath == r.beneath && row.ept == r.ept && row.variant == r.variant && row.vpid == r.vpid &&
                row.eptp == r.eptp)
                return row.number;
        r.number = next_++;
        rows_.push_back(r);
        return r.number;
    }
    /// Some layer of the chain `number` satisfies `pred(row)`.
    template <class Pred> bool any(u32 number, Pred&& pred) const {
        while (number != 0) {
            const Row* row = find(number);
            if (row == nullptr) return false;
            if (pred(*row)) return true;
            number = row->beneath;
        }
        return false;
    }

private:
    const Row* find(u32 number) const {
        for (const Row& row : rows_)
            if (row.number == number) return &row;
        return nullptr;
    }
    std::vector<Row> rows_;
    u32 next_ = 1;
};

}  // namespace droste

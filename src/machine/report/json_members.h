// SPDX-License-Identifier: Apache-2.0
// JsonMembers: typed members of a JSON object that came from a file, with an error that names the file and
// the place.
#pragma once
#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <string>

#include "base/result.h"
#include "base/types.h"

namespace droste {

using FileJson = nlohmann::ordered_json;

/// Reads on after an error, with empty values; the first error is kept.
class JsonMembers {
public:
    /// `place` is where `object` stands in the file: "exits[3]", "" for the whole.
    JsonMembers(const FileJson& object, std::string file, std::string place, Status& status)
        : object_(object), file_(std::move(file)), place_(std::move(place)), status_(status) {
        if (!object.is_object())
            fail(place_.empty() ? "the file" : place_, "an object");
    }

    std::string text(const char* name) {
        const FileJson* m = member(name);
        if (m != nullptr && m->is_string())
            return m->get<std::string>();
        fail(path(name), "a text");
        return "";
    }
    u64 number(const char* name, u64 most = ~0ull) {
        const FileJson* m = member(name);
        if (m != nullptr && m->is_number_unsigned() && m->get<u64>() <= most)
            return m->get<u64>();
        fail(path(name),
             most == ~0ull ? "a whole number" : fmt::format("a whole number of at most {}", most));
        return 0;
    }
    double real(const char* name) {
        const FileJson* m = member(name);
        if (m != nullptr && m->is_number() && std::isfinite(m->get<double>()) && m->get<double>() >= 0)
            return m->get<double>();
        fail(path(name), "a number that is not negative");
        return 0;
    }
    const FileJson& list(const char* name) {
        const FileJson* m = member(name);
        if (m != nullptr && m->is_array())
            return *m;
        fail(path(name), "a list");
        static const FileJson none = FileJson::array();
        return none;
    }
    JsonMembers object(const char* name) {
        static const FileJson none = FileJson::object();
        const FileJson* m = member(name);
        if (m == nullptr || !m->is_object()) {
            fail(path(name), "an object");
            m = &none;
        }
        return {*m, file_, path(name), status_};
    }
    /// The member, or null when it is not there.
    const FileJson* member(const char* name) const {
        if (!object_.is_object())
            return nullptr;
        const auto found = object_.find(name);
        return found == object_.end() ? nullptr : &*found;
    }
    const FileJson& json() const { return object_; }
    JsonMembers element(const char* list_name, const FileJson& json, std::size_t index) const {
        return {json, file_, fmt::format("{}[{}]", path(list_name), index), status_};
    }
    std::string path(std::string_view name) const {
        return place_.empty() ? std::string(name) : fmt::format("{}.{}", place_, name);
    }
    void fail(const std::string& what, const std::string& must_be) {
        if (status_)
            status_ = Error{
                fmt::format("{}: {} is not {}: the file is damaged; make it again", file_, what, must_be)};
    }

private:
    const FileJson& object_;
    const std::string file_, place_;
    Status& status_;
};

}  // namespace droste

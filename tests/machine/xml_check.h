// SPDX-License-Identifier: Apache-2.0
// A strict reader of XML without namespaces: tells the first thing that is not well-formed.
#pragma once
#include <algorithm>
#include <cctype>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace droste {

struct XmlElement {
    std::string name;
    std::map<std::string, std::string> attributes;
    std::string text;        ///< directly within, before the first child
    std::size_t parent = 0;  ///< index of the element around it; its own for the root
};

class XmlCheck {
public:
    explicit XmlCheck(std::string_view text) : text_(text) { document(); }
    const std::string& problem() const { return problem_; }  ///< empty: well-formed
    const std::vector<XmlElement>& elements() const { return elements_; }
    std::vector<const XmlElement*> all(std::string_view name) const {
        std::vector<const XmlElement*> found;
        for (const XmlElement& e : elements_)
            if (e.name == name)
                found.push_back(&e);
        return found;
    }

private:
    void fail(const std::string& what) {
        if (problem_.empty())
            problem_ = what + " at byte " + std::to_string(at_) + ": " + std::string(text_.substr(at_, 40));
    }
    bool starts(std::string_view s) const { return text_.substr(at_, s.size()) == s; }
    bool ends() const { return at_ >= text_.size() || !problem_.empty(); }
    void blanks() {
        while (!ends() && std::isspace(static_cast<unsigned char>(text_[at_])))
            ++at_;
    }
    std::string name() {
        const std::size_t from = at_;
        while (!ends() && (std::isalnum(static_cast<unsigned char>(text_[at_])) || text_[at_] == '-' ||
                           text_[at_] == '_'))
            ++at_;
        if (from == at_)
            fail("a name is missing");
        return std::string(text_.substr(from, at_ - from));
    }
    /// Characters up to one of `stop`.
    std::string characters(std::string_view stop) {
        std::string out;
        while (!ends() && stop.find(text_[at_]) == stop.npos) {
            const auto c = static_cast<unsigned char>(text_[at_]);
            if (c < 0x20 && c != '\n' && c != '\t' && c != '\r')
                fail("a control character");
            if (c == '<')
                fail("a bare <");
            if (c != '&') {
                out += text_[at_++];
                continue;
            }
            static const std::map<std::string_view, char> entities = {
                {"&amp;", '&'}, {"&lt;", '<'}, {"&gt;", '>'}, {"&quot;", '"'}};
            const auto found = std::find_if(entities.begin(), entities.end(),
                                            [&](const auto& e) { return starts(e.first); });
            if (found == entities.end())
                fail("an unknown entity");
            else {
                out += found->second;
                at_ += found->first.size();
            }
        }
        return out;
    }
    void tag(std::vector<std::size_t>& open) {
        XmlElement e;
        e.name = name();
        for (blanks(); !ends() && text_[at_] != '>' && text_[at_] != '/'; blanks()) {
            const std::string attribute = name();
            if (!starts("=\""))
                fail("an attribute without a quoted value");
            at_ += 2;
            const std::string value = characters("\"");
            if (ends() || !e.attributes.emplace(attribute, value).second)
                fail("an attribute twice, or without end");
            ++at_;
        }
        e.parent = open.empty() ? elements_.size() : open.back();
        if (open.empty() && !elements_.empty())
            fail("a second root");
        elements_.push_back(e);
        if (starts("/>")) {
            at_ += 2;
            return;
        }
        if (!starts(">"))
            return fail("a tag without end");
        ++at_;
        open.push_back(elements_.size() - 1);
        elements_.back().text = characters("<");
    }
    void document() {
        if (starts("<!DOCTYPE html>"))
            at_ += 15;
        std::vector<std::size_t> open;
        for (blanks(); !ends();) {
            if (starts("</")) {
                at_ += 2;
                const std::string closing = name();
                if (open.empty() || elements_[open.back()].name != closing)
                    fail("</" + closing + "> closes nothing");
                else
                    open.pop_back();
                if (!starts(">"))
                    fail("a closing tag without end");
                ++at_;
            } else if (starts("<")) {
                ++at_;
                tag(open);
            } else if (open.empty()) {
                blanks();
                if (!ends() && !starts("<"))
                    fail("text outside of the root");
            } else {
                characters("<");
            }
        }
        if (problem_.empty() && (!open.empty() || elements_.empty()))
            fail("the end is missing");
    }
    std::string_view text_;
    std::size_t at_ = 0;
    std::string problem_;
    std::vector<XmlElement> elements_;
};

}  // namespace droste

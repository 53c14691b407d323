// SPDX-License-Identifier: MIT
#pragma once
// The formats of JSON schemas that can be written exactly, or within what they allow, as patterns.
#include <algorithm>
#include <array>
#include <string>
#include <string_view>

namespace skald::grammar::detail {

/// The pattern of a format, empty for one that has none here.
inline std::string pattern_of_format(std::string_view name) {
    // RFC 3339; days as long as their months are.
    const std::string year_month_day =
        "([0-9]{3}[1-9]|[0-9]{2}[1-9]0|[0-9][1-9]00|[1-9]000)-"
        "((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|1[0-9]|2[0-8]))";
    const std::string leap_day = "([0-9]{2}(0[48]|[2468][048]|[13579][26])|([02468][48]|[13579][26]|[2468]0)00)-02-29";
    const std::string date = "(" + year_month_day + "|" + leap_day + ")";
    const std::string time = "([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,6})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])";
    const std::string byte = "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])";
    const std::string hex = "[0-9A-Fa-f]";
    const std::string label = "[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?";
    if (name == "date") return "^" + date + "$";
    if (name == "time") return "^" + time + "$";
    if (name == "date-time") return "^" + date + "T" + time + "$";
    if (name == "uuid") return "^" + hex + "{8}(-" + hex + "{4}){3}-" + hex + "{12}$";
    if (name == "ipv4") return "^(" + byte + "\\.){3}" + byte + "$";
    if (name == "ipv6") return "^(" + hex + "{1,4}:){7}" + hex + "{1,4}$";
    if (name == "hostname") return "^" + label + "(\\." + label + "){0,2}$";
    if (name == "email") return "^[A-Za-z0-9_+-]{1,32}(\\.[A-Za-z0-9_+-]{1,30})?@" + label + "(\\." + label + "){1,2}$";
    return {};
}

/// Formats of the standard that are none of the above: what they ask of a string cannot be promised.
inline bool is_unknown_standard_format(std::string_view name) {
    static constexpr std::array names{"duration", "idn-email",     "idn-hostname", "iri",          "iri-reference",
                                      "uri",      "uri-reference", "uri-template", "json-pointer", "relative-json-pointer",
                                      "regex"};
    return std::find(names.begin(), names.end(), name) != names.end();
}

}  // namespace skald::grammar::detail

-- A YAML reader for what cloud-init data holds: block and flow collections, all scalar styles, anchors.
-- JSON is read as the flow style it is. Scalars resolve as in YAML 1.1, so `yes` is true and 0644 is 420.
local M = {}

M.seq = { __name = "seq" }
M.map = { __name = "map" }
M.null = setmetatable({}, { __name = "null", __tostring = function() return "null" end })

function M.is_seq(v) return getmetatable(v) == M.seq end
function M.is_map(v) return getmetatable(v) == M.map end
function M.new_seq(t) return setmetatable(t or {}, M.seq) end
function M.new_map(t) return setmetatable(t or {}, M.map) end

local ESCAPES = { n = "\n", t = "\t", r = "\r", ["0"] = "\0", a = "\a", b = "\b", e = "\27", f = "\f", v = "\v",
  ['"'] = '"', ["\\"] = "\\", ["/"] = "/", [" "] = " ", ["\t"] = "\t", N = "\u{85}", _ = "\u{a0}",
  L = "\u{2028}", P = "\u{2029}" }
local WORDS = { ["true"] = true, yes = true, on = true, ["false"] = false, no = false, off = false }

local function fail(state, message)
  error({ yaml = string.format("line %d: %s", state.line or 0, message) }, 0)
end

local ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

function M.base64(text)
  local out, bits, count = {}, 0, 0
  for char in text:gmatch("[%w+/]") do
    bits = ((bits << 6) | (ALPHABET:find(char, 1, true) - 1)) & 0xffffff
    count = count + 6
    if count >= 8 then
      count = count - 8
      out[#out + 1] = string.char((bits >> count) & 0xff)
    end
  end
  return table.concat(out)
end

-- ---------------------------------------------------------------- scalars

local function sexagesimal(text)
  local sign, body = text:match("^([-+]?)([1-9][%d_]*:[%d:]+)$")
  if not body or body:find("::", 1, true) or body:sub(-1) == ":" then return nil end
  local total, first = 0, true
  for part in body:gmatch("[^:]+") do
    local digits = part:gsub("_", "")
    local value = tonumber(digits, 10)
    if not first and (#digits > 2 or value > 59) then return nil end
    total, first = total * 60 + value, false
  end
  return sign == "-" and -total or total
end

local function integer(text)
  local sign, body = text:match("^([-+]?)(.*)$")
  if not body:match("^%d") then return nil end
  local digits = body:gsub("_", "")
  local value
  if digits:match("^0$") then value = 0
  elseif digits:match("^0b[01]+$") then value = tonumber(digits:sub(3), 2)
  elseif digits:match("^0x%x+$") then value = math.tointeger(tonumber(digits:sub(3), 16))
  elseif digits:match("^0[0-7]+$") then value = tonumber(digits, 8)
  elseif digits:match("^[1-9]%d*$") then value = math.tointeger(tonumber(digits)) or tonumber(digits) end
  if not value then return nil end
  return sign == "-" and -value or value
end

local function float(text)
  local lower = text:lower()
  if lower == ".inf" or lower == "+.inf" then return math.huge end
  if lower == "-.inf" then return -math.huge end
  local plain = text:gsub("_", "")
  if plain:match("^[-+]?%d+%.%d*$") or plain:match("^[-+]?%d+%.%d*[eE][-+]%d+$")
      or plain:match("^[-+]?%.%d+$") then
    return tonumber((plain:gsub("^%+", "")))
  end
end

function M.resolve(text)
  if text == "" or text == "~" or text == "null" or text == "Null" or text == "NULL" then return M.null end
  local lower = text:lower()
  if WORDS[lower] ~= nil and (text == lower or text == lower:upper() or text == lower:sub(1, 1):upper() .. lower:sub(2)) then
    return WORDS[lower]
  end
  local value = sexagesimal(text)
  if value == nil then value = integer(text) end
  if value == nil then value = float(text) end
  if value == nil then return text end
  return value
end

local function fold(text)
  -- line folding inside quotes and plain scalars: one break is a space, n+1 breaks are n newlines
  text = text:gsub("[ \t]*\n([ \t\n]*)", function(rest)
    local _, extra = rest:gsub("\n", "")
    return extra == 0 and " " or ("\n"):rep(extra)
  end)
  return text
end

-- ---------------------------------------------------------------- quoted and flow text (character based)

local function unicode(state, text, pos, digits)
  local hex = text:sub(pos, pos + digits - 1)
  if not hex:match("^%x+$") or #hex ~= digits then fail(state, "bad escape") end
  local code = tonumber(hex, 16)
  pos = pos + digits
  if digits == 4 and code >= 0xd800 and code <= 0xdbff then
    local low = text:match("^\\u(%x%x%x%x)", pos)
    low = low and tonumber(low, 16)
    if low and low >= 0xdc00 and low <= 0xdfff then
      code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00)
      pos = pos + 6
    end
  end
  return utf8.char(code), pos
end

local function escape(state, text, pos)
  local char = text:sub(pos, pos)
  if char == "x" then return unicode(state, text, pos + 1, 2) end
  if char == "u" then return unicode(state, text, pos + 1, 4) end
  if char == "U" then return unicode(state, text, pos + 1, 8) end
  if char == "\n" then
    local _, last = text:find("^\n[ \t]*", pos)
    return "", last + 1
  end
  if not ESCAPES[char] then fail(state, "unknown escape \\" .. char) end
  return ESCAPES[char], pos + 1
end

local function double_quoted(state, text, pos)
  local out = {}
  pos = pos + 1
  while true do
    local stop = text:find('["\\]', pos)
    if not stop then fail(state, "unterminated double quote") end
    out[#out + 1] = fold(text:sub(pos, stop - 1))
    if text:sub(stop, stop) == '"' then return table.concat(out), stop + 1 end
    out[#out + 1], pos = escape(state, text, stop + 1)
  end
end

local function single_quoted(state, text, pos)
  local from = pos + 1
  local at = from
  while true do
    local stop = text:find("'", at, true)
    if not stop then fail(state, "unterminated single quote") end
    if text:sub(stop + 1, stop + 1) ~= "'" then
      local body = fold(text:sub(from, stop - 1)):gsub("''", "'")
      return body, stop + 1
    end
    at = stop + 2
  end
end

local function skip(text, pos)
  while true do
    pos = text:find("[^ \t\r\n]", pos)
    if not pos then return #text + 1 end
    if text:sub(pos, pos) ~= "#" or not (pos == 1 or text:sub(pos - 1, pos - 1):match("%s")) then return pos end
    pos = text:find("\n", pos, true) or #text + 1
  end
end

local function flow_plain(text, pos)
  local at = pos
  while at <= #text do
    local char = text:sub(at, at)
    if char:match("[,%[%]{}]") then break end
    if char == ":" and text:sub(at + 1, at + 1):match("^[%s,%[%]{}]?$") then break end
    if char == "#" and text:sub(at - 1, at - 1):match("%s") then break end
    at = at + 1
  end
  local raw = text:sub(pos, at - 1):gsub("%s+$", "")
  return fold(raw), at
end

local flow

local function flow_seq(state, text, pos)
  local list = M.new_seq()
  pos = skip(text, pos + 1)
  while text:sub(pos, pos) ~= "]" do
    if pos > #text then fail(state, "unterminated [") end
    local value
    value, pos = flow(state, text, pos)
    pos = skip(text, pos)
    if text:sub(pos, pos) == ":" then
      local pair = M.new_map()
      pair[value], pos = flow(state, text, skip(text, pos + 1))
      value, pos = pair, skip(text, pos)
    end
    list[#list + 1] = value
    local char = text:sub(pos, pos)
    if char == "," then pos = skip(text, pos + 1) elseif char ~= "]" then fail(state, "expected , or ] in a list") end
  end
  return list, pos + 1
end

local function flow_map(state, text, pos)
  local map = M.new_map()
  pos = skip(text, pos + 1)
  while text:sub(pos, pos) ~= "}" do
    if pos > #text then fail(state, "unterminated {") end
    local key, value
    if text:match("^%?%s", pos) then pos = skip(text, pos + 1) end
    key, pos = flow(state, text, pos)
    pos = skip(text, pos)
    value = M.null
    if text:sub(pos, pos) == ":" then
      pos = skip(text, pos + 1)
      if not text:sub(pos, pos):match("[,}]") then value, pos = flow(state, text, pos) end
      pos = skip(text, pos)
    end
    map[key] = value
    local char = text:sub(pos, pos)
    if char == "," then pos = skip(text, pos + 1) elseif char ~= "}" then fail(state, "expected , or } in a mapping") end
  end
  return map, pos + 1
end

function flow(state, text, pos)
  local char = text:sub(pos, pos)
  if char == "[" then return flow_seq(state, text, pos) end
  if char == "{" then return flow_map(state, text, pos) end
  if char == '"' then return double_quoted(state, text, pos) end
  if char == "'" then return single_quoted(state, text, pos) end
  local name, stop = text:match("^%*([^%s,%[%]{}]+)()", pos)
  if name then
    if state.anchors[name] == nil then fail(state, "unknown alias *" .. name) end
    return state.anchors[name], stop
  end
  local raw, after = flow_plain(text, pos)
  if raw == "" then fail(state, "expected a value") end
  return M.resolve(raw), after
end

-- ---------------------------------------------------------------- block structure (line based)

local block

local function peek(state)
  while state.line <= #state.lines do
    local text = state.lines[state.line]
    if not text:match("^%s*$") and not text:match("^%s*#") then
      local spaces = text:match("^ *")
      if text:sub(#spaces + 1, #spaces + 1) == "\t" then fail(state, "a tab cannot indent") end
      return #spaces, text:sub(#spaces + 1)
    end
    state.line = state.line + 1
  end
end

local function rest_text(state, text)
  -- the text from here to the end of the document, for scalars that span lines
  return text .. "\n" .. table.concat(state.lines, "\n", state.line + 1)
end

local function consumed(state, text, stop)
  -- moves behind a value that ended before `stop`; only a comment may follow it on its line
  local _, breaks = text:sub(1, stop - 1):gsub("\n", "")
  state.line = state.line + breaks
  local tail = text:match("^[^\n]*", stop)
  if not tail:match("^%s*$") and not tail:match("^%s+#") then fail(state, "unexpected text after a value: " .. tail) end
  state.line = state.line + 1
end

local function block_scalar_lines(state, indent, given)
  local lines, level = {}, given
  while state.line <= #state.lines do
    local text = state.lines[state.line]
    local spaces = #text:match("^ *")
    if text:match("^%s*$") and (not level or spaces <= level) then
      lines[#lines + 1] = ""
    else
      if not level then
        if spaces < indent then break end
        level = spaces
      end
      if spaces < level then break end
      lines[#lines + 1] = text:sub(level + 1)
    end
    state.line = state.line + 1
  end
  return lines
end

local function fold_lines(lines)
  local out, previous = {}, nil
  for _, text in ipairs(lines) do
    local more = text:match("^[ \t]") ~= nil
    if previous == nil then out[#out + 1] = text
    elseif text == "" then out[#out + 1] = "\n"
    elseif previous == "" then out[#out + 1] = (more and "\n" or "") .. text
    elseif more or previous:match("^[ \t]") then out[#out + 1] = "\n" .. text
    else out[#out + 1] = " " .. text end
    previous = text
  end
  return table.concat(out)
end

local function block_scalar(state, header, indent)
  local style, flags = header:match("^([|>])([-+%d]*)%s*$")
  if not style then style, flags = header:match("^([|>])([-+%d]*)%s+#") end
  if not style then fail(state, "bad block scalar header " .. header) end
  local digit = tonumber(flags:match("%d"))
  state.line = state.line + 1
  local lines = block_scalar_lines(state, indent, digit and (indent - 1 + digit))
  local trailing = 0
  while #lines > 0 and lines[#lines] == "" do
    lines[#lines] = nil
    trailing = trailing + 1
  end
  if #lines == 0 then return flags:find("+", 1, true) and ("\n"):rep(trailing) or "" end
  local body = style == "|" and table.concat(lines, "\n") or fold_lines(lines)
  if flags:find("-", 1, true) then return body end
  return body .. "\n" .. (flags:find("+", 1, true) and ("\n"):rep(trailing) or "")
end

local function strip_comment(text)
  local at = text:find("%s#")
  if at then text = text:sub(1, at - 1) end
  return (text:gsub("%s+$", "")), at ~= nil
end

local function plain(state, text, indent)
  local first, commented = strip_comment(text)
  if first:find(":%s") or first:sub(-1) == ":" then fail(state, "a mapping cannot start here: " .. text) end
  if first:match("^[@`%%]") or first:match("^%-%s") or first == "-" then fail(state, "a plain value cannot start with " .. first:sub(1, 1)) end
  local parts = { first }
  state.line = state.line + 1
  while not commented and state.line <= #state.lines do
    local line = state.lines[state.line]
    if line:match("^%s*$") then
      parts[#parts + 1] = ""
    else
      local spaces = #line:match("^ *")
      if spaces < indent or line:match("^%s*#") then break end
      local piece
      piece, commented = strip_comment(line:sub(spaces + 1))
      if piece:find(":%s") or piece:sub(-1) == ":" then fail(state, "a mapping cannot start here: " .. piece) end
      parts[#parts + 1] = piece
    end
    state.line = state.line + 1
  end
  while parts[#parts] == "" do parts[#parts] = nil end
  if #parts == 1 then return M.resolve(first) end
  return fold(table.concat(parts, "\n"))
end

local function anchored(state, name, value)
  if name then state.anchors[name] = value end
  return value
end

-- a value whose text starts on the current line, inside a node indented by at least `indent`
local function inline(state, text, indent, compact)
  local anchor, tag
  while true do
    local name, rest = text:match("^&(%S+)%s*(.*)$")
    if name then anchor, text = name, rest end
    local mark, after = text:match("^(!%S*)%s*(.*)$")
    if mark then tag, text = mark, after end
    if not name and not mark then break end
  end
  local first = text:sub(1, 1)
  local value
  if text == "" or first == "#" then
    state.line = state.line + 1
    value = block(state, indent, compact)
  elseif first == "|" or first == ">" then
    value = block_scalar(state, text, indent)
  elseif first == "*" then
    local name = strip_comment(text):sub(2)
    if state.anchors[name] == nil then fail(state, "unknown alias *" .. name) end
    value = state.anchors[name]
    state.line = state.line + 1
  elseif first == "[" or first == "{" or first == '"' or first == "'" then
    local whole = rest_text(state, text)
    local stop
    value, stop = flow(state, whole, 1)
    consumed(state, whole, stop)
  elseif tag == "!!str" then
    value = strip_comment(text)
    state.line = state.line + 1
  else
    value = plain(state, text, indent)
  end
  if tag == "!!binary" then value = M.base64(value) end
  return anchored(state, anchor, value)
end

local function split_key(state, text)
  -- "key: rest" -> key, rest; nil when the line is no mapping entry
  local first = text:sub(1, 1)
  if first == '"' or first == "'" then
    local ok, key, stop = pcall(first == '"' and double_quoted or single_quoted, state, text, 1)
    if not ok then return nil end
    local rest = text:match("^%s*:%s+(.*)$", stop) or text:match("^%s*:()$", stop) and ""
    return rest and key, rest
  end
  if first:match("[%[{|>@`%%]") or first == "#" then return nil end
  if text:match("^%?%s") or text == "?" then return nil end
  local stop = text:find(":%s") or text:match("():$")
  local comment = text:find("%s#")
  if not stop or (comment and comment < stop) then return nil end
  local key = text:sub(1, stop - 1):gsub("%s+$", "")
  return M.resolve(key), (text:sub(stop + 1):gsub("^%s+", ""))
end

local function merge(state, map, value)
  local sources = M.is_seq(value) and value or { value }
  for _, source in ipairs(sources) do
    if not M.is_map(source) then fail(state, "<< needs a mapping") end
    for key, item in pairs(source) do
      if map[key] == nil then map[key] = item end
    end
  end
end

local function explicit_entry(state, indent, text)
  -- "? key" and ": value" on lines of their own
  state.lines[state.line] = (" "):rep(indent + 1) .. text:sub(2)
  local key = block(state, indent + 1)
  local level, after = peek(state)
  if level ~= indent or not (after:match("^:%s") or after == ":") then return key, M.null end
  state.lines[state.line] = (" "):rep(indent + 1) .. after:sub(2)
  return key, block(state, indent + 1)
end

local function block_map(state, indent)
  local map, merges = M.new_map(), {}
  while true do
    local level, text = peek(state)
    if not level or level < indent then break end
    if level > indent then fail(state, "unexpected indentation") end
    if text:match("^%-%s") or text == "-" then break end
    local key, value
    if text:match("^%?%s") or text == "?" then
      key, value = explicit_entry(state, level, text)
    else
      local rest
      key, rest = split_key(state, text)
      if key == nil then fail(state, "expected `key: value`, found " .. text) end
      value = inline(state, rest, indent + 1, indent)
    end
    if key == M.null then key = "null" end
    if key == "<<" then merges[#merges + 1] = value else map[key] = value end
  end
  for _, value in ipairs(merges) do merge(state, map, value) end
  return map
end

local function block_seq(state, indent)
  local list = M.new_seq()
  while true do
    local level, text = peek(state)
    if not level or level < indent then break end
    if level > indent then fail(state, "unexpected indentation") end
    if not (text:match("^%-%s") or text == "-") then break end
    local rest = text:sub(2)
    local pad = #rest:match("^%s*")
    local item = rest:sub(pad + 1)
    if item == "" or item:sub(1, 1) == "#" then
      state.line = state.line + 1
      list[#list + 1] = block(state, indent + 1)
    elseif item:match("^[-?]%s") or item == "-" or split_key(state, item) ~= nil then
      -- a collection that starts on the dash's line: read it as if the dash were a space
      state.lines[state.line] = (" "):rep(indent + 1 + pad) .. item
      list[#list + 1] = block(state, indent + 1)
    else
      list[#list + 1] = inline(state, item, indent + 1)
    end
  end
  return list
end

-- `compact`: the indentation at which a sequence may stand under its own key
function block(state, indent, compact)
  local level, text = peek(state)
  if not level then return M.null end
  local dash = text:match("^%-%s") or text == "-"
  if level < indent and not (dash and compact == level) then return M.null end
  if dash then return block_seq(state, level) end
  if text:match("^%?%s") or split_key(state, text) ~= nil then return block_map(state, level) end
  return inline(state, text, indent)
end

function M.parse(text)
  text = text:gsub("^\239\187\191", ""):gsub("\r\n", "\n")
  local state = { lines = {}, line = 1, anchors = {} }
  for line in (text .. "\n"):gmatch("([^\n]*)\n") do
    if line:match("^%-%-%-%s*$") or line:match("^%-%-%-%s+#") or line:match("^%%") then
      local body = table.concat(state.lines, "\n"):gsub("#[^\n]*", "")
      if body:match("%S") and line:sub(1, 1) == "-" then break end
      line = ""
    elseif line:match("^%.%.%.%s*$") then
      break
    elseif line:match("^%-%-%- ") then
      line = "    " .. line:sub(5)
    end
    state.lines[#state.lines + 1] = line
  end
  local value = block(state, 0)
  if peek(state) then fail(state, "unexpected text: " .. state.lines[state.line]) end
  return value
end

-- ---------------------------------------------------------------- JSON output (for tests and for looking)

local function quote(text)
  return '"' .. text:gsub('[%c"\\]', function(char)
    if char == '"' or char == "\\" then return "\\" .. char end
    return string.format("\\u%04x", char:byte())
  end) .. '"'
end

function M.to_json(value)
  if value == nil or value == M.null then return "null" end
  if type(value) == "string" then return quote(value) end
  if type(value) ~= "table" then return tostring(value) end
  local out = {}
  if M.is_seq(value) then
    for _, item in ipairs(value) do out[#out + 1] = M.to_json(item) end
    return "[" .. table.concat(out, ",") .. "]"
  end
  for key, item in pairs(value) do out[#out + 1] = quote(tostring(key)) .. ":" .. M.to_json(item) end
  table.sort(out)
  return "{" .. table.concat(out, ",") .. "}"
end

return M

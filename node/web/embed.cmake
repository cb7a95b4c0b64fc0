# cmake -DOUT=file.c -DFILES="a;b" -P embed.cmake: the files as C arrays, with type and ETag (docs/APP.md).
cmake_minimum_required(VERSION 3.22) # @NAME@ below is text
set(types_html "text/html; charset=utf-8")
set(types_js "text/javascript; charset=utf-8")
set(types_css "text/css; charset=utf-8")
set(types_svg "image/svg+xml")
set(types_webmanifest "application/manifest+json")

set(all "")
foreach(path IN LISTS FILES)
  file(SHA256 ${path} hash)
  string(APPEND all "${hash}")
endforeach()
string(SHA256 version "${all}")
string(SUBSTRING ${version} 0 16 version)

set(arrays "")
set(table "")
set(n 0)
foreach(path IN LISTS FILES)
  get_filename_component(name ${path} NAME)
  get_filename_component(ext ${path} LAST_EXT)
  string(SUBSTRING ${ext} 1 -1 ext)
  if(NOT DEFINED types_${ext})
    message(FATAL_ERROR "${name}: embed.cmake knows no type for .${ext}")
  endif()
  file(SHA256 ${path} hash)
  string(SUBSTRING ${hash} 0 32 hash)
  file(READ ${path} hex HEX)
  # The worker names its cache after all files together: another build, another cache. The mark is 16 bytes.
  string(HEX "@EVERWARD_BUILD@" mark)
  string(HEX "${version}" version_hex)
  string(REPLACE "${mark}" "${version_hex}" filled "${hex}")
  if(NOT filled STREQUAL hex)
    string(SUBSTRING ${version}${hash} 0 32 hash)
  endif()
  string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${filled}")
  string(APPEND arrays "static const unsigned char f${n}[] = {${bytes}0};\n")
  string(APPEND table "    {\"${name}\", \"${types_${ext}}\", \"\\\"${hash}\\\"\", f${n}, sizeof f${n} - 1},\n")
  math(EXPR n "${n} + 1")
endforeach()
file(CONFIGURE OUTPUT ${OUT} @ONLY CONTENT "#include \"node/api/web.h\"\n
${arrays}
const struct api_web_file api_web_files[] = {\n${table}};
const size_t api_web_file_count = ${n};
")

//! What the checks of a job file find, in Chinese: the warnings, and the errors that people make. Others stay in
//! English.

use crate::server::admin::page::messages::Messages;

/// English and Chinese; `{}` stands for any text, `{1}` for the first of these.
const FINDINGS: &[(&str, &str)] = &[
    (
        "the same request with the same seed as before: the provider bills it, and may make the same video again",
        "请求和种子都与之前相同：照常计费，生成的视频可能一样",
    ),
    (
        "the same request several times without a new seed: each is billed, and they may be alike",
        "同一请求多次运行而不换种子：每次都计费，结果可能一样",
    ),
    // Warnings about requests.
    (
        "`duration` is {}: {} makes {}, and the provider refuses or changes another length",
        "`duration` 为 {1}：{2} 只支持 {3}，其他时长会被服务商拒绝或更改",
    ),
    (
        "`resolution` is {}: {} makes {}, and the provider refuses or changes another one",
        "`resolution` 为 {1}：{2} 只支持 {3}，其他分辨率会被服务商拒绝或更改",
    ),
    ("`aspect_ratio` is {}: at {} it can only be {}", "`aspect_ratio` 为 {1}：{2} 时只能是 {3}"),
    (
        "`aspect_ratio` has no effect beside a picture, which decides the shape, and the newest service refuses it: leave it out",
        "`aspect_ratio` 与图片同用时无效，画面比例由图片决定，新版服务会拒绝：请去掉",
    ),
    (
        "`prompt` has {} characters: providers cut it without notice, some after {}, and bill all of it",
        "`prompt` 有 {1} 个字符：服务商会不作提示地截断（有的在 {2} 个字符处），并照常计费",
    ),
    (
        "`extra` is refused by the newest service, unbilled: {} takes its parameters at the root",
        "`extra` 会被新版服务拒绝（不计费）：{1} 的参数应写在根级",
    ),
    (
        "`extra` is refused by this service, unbilled: put its keys at the root",
        "`extra` 会被此服务拒绝（不计费）：请把其中的键写在根级",
    ),
    (
        "{} is ignored at the root by this service: put it into `extra`",
        "{1} 写在根级时会被此服务忽略：请写入 `extra`",
    ),
    (
        "{} is no input of {}: it is ignored, or refused unbilled",
        "{1} 不是 {2} 的输入：会被忽略，或被拒绝（不计费）",
    ),
    ("{} asks for sound, and {} makes silent videos only", "{1} 要求声音，而 {2} 只生成无声视频"),
    ("{} switches sound off, and {} always makes and bills it", "{1} 关闭了声音，而 {2} 总会生成声音并计费"),
    ("{} has {} picture{}: {} takes at most {} picture{}", "{1} 有 {2} 张图片：{4} 最多接受 {5} 张"),
    ("{} has {} clip{}: {} takes at most {} clip{}", "{1} 有 {2} 段视频：{4} 最多接受 {5} 段"),
    ("{} has {} sound{}: {} takes at most {} sound{}", "{1} 有 {2} 段音频：{4} 最多接受 {5} 段"),
    (
        "`image_urls` excludes frames: {} takes either frames or pictures",
        "`image_urls` 不能与首尾帧同用：{1} 只接受首尾帧或图片其中一种",
    ),
    ("{} has a {} file: {} takes pictures as {}", "{1} 是 {2} 文件：{3} 接受的图片格式为 {4}"),
    ("{} needs another action: {} knows only {}", "{1} 需要其他操作：{2} 只支持 {3}"),
    (
        "`model` needs a clip to edit: the request for {} names none",
        "`model` 需要待编辑的视频：给 {1} 的请求没有指定",
    ),
    (
        "{} is no documented key, and sent as it is: did you mean {}?",
        "{1} 不是文档中的键，会原样发送：是否想写 {2}？",
    ),
    ("and {} more warnings, not listed", "另有 {1} 条警告未列出"),
    // Errors.
    ("and {} more problems, not listed", "另有 {1} 个问题未列出"),
    ("`model` is missing: every job names its model", "缺少 `model`：每个任务都要指定模型"),
    ("{} is missing: {} needs it for {}", "缺少 {1}：{2} 需要它（{3}）"),
    ("{} must not be empty", "{1} 不能为空"),
    ("{} is {}: it must be {}", "{1} 为 {2}：必须是 {3}"),
    (
        "{} must be a whole number, not a string: leave out the quotes",
        "{1} 必须是整数，不能是字符串：请去掉引号",
    ),
    ("{} must be a number, not a string: leave out the quotes", "{1} 必须是数字，不能是字符串：请去掉引号"),
    (
        "{} must be true or false, not a string: leave out the quotes",
        "{1} 必须是 true 或 false，不能是字符串：请去掉引号",
    ),
    ("{} must be a whole number from {} to {}", "{1} 必须是 {2} 到 {3} 的整数"),
    ("{} must be {}, not {}", "{1} 的类型不对：需要 {2}，给出的是 {3}"),
    ("{} has {} characters: at most {} are allowed", "{1} 有 {2} 个字符：最多 {3} 个"),
    ("{} is unknown: did you mean {}? `dropreel` knows {}", "{1} 未知：是否想写 {2}？`dropreel` 支持 {3}"),
    ("{} is unknown: `dropreel` knows {}", "{1} 未知：`dropreel` 支持 {2}"),
    ("{} is given twice, {}: keep one", "{1} 出现了两次（{2}）：请只保留一个"),
    (
        "{} is a path on this machine: the provider takes public http(s) URLs; with `media.serve = true`, dropreel serves pictures that lie beside the job file",
        "{1} 是本机路径：服务商只接受公开的 http(s) 地址；设置 `media.serve = true` 后，dropreel 可提供与任务文件放在一起的图片",
    ),
    (
        "the picture {} was not handed over with its job: the inbox and `dropreel submit` take pictures that lie beside the job file, `again` and `edit` those of the current folder, and programs upload them to `POST /api/v1/pictures`",
        "图片 {1} 没有随任务一起提供：收件箱和 `dropreel submit` 会读取与任务文件放在一起的图片，`again` 和 `edit` 读取当前文件夹中的图片，程序可上传到 `POST /api/v1/pictures`",
    ),
    (
        "the picture {} is not kept any more: upload it again, and submit its job within a day",
        "图片 {1} 已不再保留：请重新上传，并在一天内提交任务",
    ),
    (
        "{} is a data URI: the provider takes public http(s) URLs only",
        "{1} 是 data URI：服务商只接受公开的 http(s) 地址",
    ),
    (
        "{} must be a public http(s) URL or the path of a picture, such as {} or {}",
        "{1} 必须是公开的 http(s) 地址，或图片的路径，例如 {2} 或 {3}",
    ),
    ("{} must be a public http(s) URL, such as {}", "{1} 必须是公开的 http(s) 地址，例如 {2}"),
    (
        "{} is an address of a private network: the provider cannot fetch from there",
        "{1} 是内网地址：服务商无法从那里下载",
    ),
    (
        "`callback_url` is set by dropreel itself: remove it (to be notified, set up [[hooks]])",
        "`callback_url` 由 dropreel 自行设置：请去掉（如需通知，请配置 [[hooks]]）",
    ),
    ("a job must be an object, not {}", "任务必须是对象，而不是 {1}"),
    ("a job file is an object or an array of objects, not {}", "任务文件是一个对象或对象数组，而不是 {1}"),
    ("the array is empty: there is no job in it", "数组为空，没有任务"),
    ("the file is empty", "文件为空"),
    ("the file contains no job", "文件中没有任务"),
    (
        "a second value begins here: put several jobs into an array, or one per line into a `.jsonl` file",
        "这里开始了第二个值：多个任务请写成数组，或每行一个写入 `.jsonl` 文件",
    ),
    ("a second value begins here: each line must hold one object", "这里开始了第二个值：每行只能有一个对象"),
    ("one comma too many: remove it", "多了一个逗号：请删除"),
    ("a comma is missing before this", "前面缺少逗号"),
    ("a comma before {}: remove it", "{1} 前多了一个逗号：请删除"),
    ("the key {} must be in double quotes", "键 {1} 必须用双引号"),
    ("{} is not JSON: text must be in double quotes", "{1} 不是 JSON：文字必须用双引号"),
    (
        "{} is not JSON: {} is meant (check the keyboard or the editor's quotes)",
        "{1} 不是 JSON：应为 {2}（请检查输入法或编辑器的引号）",
    ),
    ("single quotes are not JSON: use double quotes", "单引号不是 JSON：请用双引号"),
    ("comments are not JSON: remove it", "JSON 不支持注释：请删除"),
    ("{} should stand here, not {}", "这里应为 {1}，而不是 {2}"),
    ("{} is left over after the end of the value", "值结束后多出了 {1}"),
    (
        "the file ends inside {} (begun on line {}, column {}): cut short, or still being written",
        "文件在 {1} 中结束（始于第 {2} 行第 {3} 列）：内容不完整，或仍在写入",
    ),
    ("the file ends {}: cut short, or still being written", "文件提前结束（{1}）：内容不完整，或仍在写入"),
    (
        "the line ends {}: each line must hold one whole object (one spread over lines belongs into a `.json` file)",
        "这一行提前结束（{1}）：每行必须是一个完整的对象（分多行书写的请用 `.json` 文件）",
    ),
    (
        "`repeat` and `matrix` make {} jobs of this object, and {} are allowed (inbox.max_expansion)",
        "`repeat` 和 `matrix` 会由此对象生成 {1} 个任务，最多允许 {2} 个（inbox.max_expansion）",
    ),
    (
        "the key {} was already used by job {}; a key is run once only",
        "键 {1} 已被任务 {2} 使用；一个键只运行一次",
    ),
    (
        "this looks like a conflict copy of a sync tool and is not submitted; rename it if you want it",
        "这像是同步工具产生的冲突副本，不会提交；如需提交请先改名",
    ),
];

/// Words inside of what `{}` stands for.
const WORDS: &[(&str, &str)] = &[
    ("text-to-video", "文生视频"),
    ("image-to-video", "图生视频"),
    ("reference-to-video", "参考生视频"),
    ("first/last frame", "首尾帧"),
    ("without transparency", "（不带透明）"),
    ("a whole number", "整数"),
    ("a number of US dollars", "美元金额"),
    ("a number", "数字"),
    ("a string", "字符串"),
    ("an object", "对象"),
    ("an array of URLs", "地址数组"),
    ("an array of strings", "字符串数组"),
    ("an array", "数组"),
    ("a key in double quotes", "带双引号的键"),
    ("where a value should stand", "应为值的地方"),
    (" or ", " 或 "),
    (" and ", " 和 "),
    (" to ", " 至 "),
    (" s", " 秒"),
];

impl Messages {
    /// A finding of the checks.
    pub(in crate::server::admin) fn finding(&self, message: &str) -> String {
        if !self.is_chinese() {
            return message.to_owned();
        }
        let in_chinese =
            |(english, chinese): &(&str, &str)| fill(chinese, &match_template(english, message)?);
        FINDINGS.iter().find_map(in_chinese).unwrap_or_else(|| message.to_owned())
    }
}

/// What each `{}` of `template` stands for in `message`, if it is made of it.
fn match_template<'m>(template: &str, message: &'m str) -> Option<Vec<&'m str>> {
    let mut pieces = template.split("{}");
    let mut rest = message.strip_prefix(pieces.next()?)?;
    let mut values = Vec::new();
    let pieces: Vec<&str> = pieces.collect();
    for (index, piece) in pieces.iter().enumerate() {
        let is_last = index + 1 == pieces.len();
        let end = if is_last { rest.strip_suffix(piece)?.len() } else { rest.find(piece)? };
        values.push(rest.get(..end)?);
        rest = rest.get(end + piece.len()..)?;
    }
    rest.is_empty().then_some(values)
}

/// `None`: the template has a value that is not given.
fn fill(template: &str, values: &[&str]) -> Option<String> {
    let mut pieces = template.split('{');
    let mut text = pieces.next()?.to_owned();
    for piece in pieces {
        let (number, after) = piece.split_once('}')?;
        let value = values.get(number.parse::<usize>().ok()?.checked_sub(1)?)?;
        text.push_str(&translated(value));
        text.push_str(after);
    }
    Some(text)
}

/// Quotes of the user's text stay as they are.
fn translated(value: &str) -> String {
    let parts = value.split('`').enumerate().map(|(index, part)| {
        if index % 2 == 1 {
            return part.to_owned();
        }
        WORDS.iter().fold(part.to_owned(), |part, (english, chinese)| part.replace(english, chinese))
    });
    parts.collect::<Vec<_>>().join("`")
}

#[cfg(test)]
mod tests {
    use crate::jobfile::{Inspection, JobFileLimits, JobFileReader};
    use crate::rng::Rng;
    use crate::server::admin::page::messages::chinese::CHINESE;
    use crate::server::admin::page::messages::english::ENGLISH;

    fn findings(body: &str, limits: &JobFileLimits) -> Vec<String> {
        let reader = JobFileReader::new(limits.clone(), Rng::seeded(1));
        let found = Inspection::of_document(&reader, body.as_bytes(), "a", |_| {});
        found.errors.iter().chain(&found.warnings()).map(|problem| problem.message.clone()).collect()
    }

    #[test]
    fn common_findings_are_in_chinese() {
        let cases = [
            r#"{"model":"wan2.5-t2v","prompt":"p","duration":7}"#,
            r#"{"model":"wan2.6","prompt":"p","resolution":"480p"}"#,
            r#"{"model":"wan2.5-t2v","prompt":"p","resolution":"480p","aspect_ratio":"4:3"}"#,
            r#"{"model":"wan2.6","prompt":"p","image_urls":["https://example.com/a.gif"],"aspect_ratio":"1:1"}"#,
            r#"{"model":"wan2.6","prompt":"p","extra":{"audio":true}}"#,
            r#"{"model":"wan2.5-t2v","prompt":"p","audio":true}"#,
            r#"{"model":"wan2.5-t2v","prompt":"p","image_urls":["https://example.com/a.png"]}"#,
            r#"{"model":"wan2.2-i2v-flash","prompt":"p","image_urls":["https://example.com/a.png"],"extra":{"audio":true}}"#,
            r#"{"model":"wan2.5-preview","prompt":"p","generate_audio":false}"#,
            r#"{"model":"wan2.6-i2v","image_urls":["https://example.com/a.png","https://example.com/b.png"]}"#,
            r#"{"model":"wan2.7","image_urls":["https://example.com/a.png"],"first_frame":"https://example.com/a.png"}"#,
            r#"{"model":"wan2.7-videoedit","prompt":"p"}"#,
            r#"{"model":"wan2.5-t2v","prompt":"p","durations":5}"#,
            r#"{"prompt":"p"}"#,
            r#"{"model":"wan2.5-t2v"}"#,
            r#"{"model":"wan2.5-t2v","prompt":""}"#,
            r#"{"model":"wan2.5-t2v","prompt":"p","duration":"5"}"#,
            r#"{"model":"wan2.5-t2v","prompt":"p","duration":0}"#,
            r#"{"model":"wan2.5-t2v","prompt":5}"#,
            r#"{"model":"wan2.5-t2v","prompt":"p","aspect_ratio":"2:1"}"#,
            r#"{"model":"wan2.5-t2v","prompt":"p","dropreel":{"naem":"a"}}"#,
            r#"{"model":"wan2.5-i2v","prompt":"p","image_urls":["a.png"]}"#,
            r#"{"model":"wan2.5-i2v","prompt":"p","image_urls":["http://localhost/a.png"]}"#,
            r#"{"model":"m","prompt":"p","callback_url":"https://example.com/"}"#,
            "[]",
            "5",
            "{\"model\": ",
            r#"{"model":"m",}"#,
            r#"{"model":"m" "prompt":"p"}"#,
            "{\"model\":\u{201c}m\u{201d}}",
            "{'model':'m'}",
            r#"{"model":"m","prompt":"p"}{"#,
            r#"{"model":"m","prompt":"p","dropreel":{"repeat":500}}"#,
        ];
        for body in cases {
            let found = findings(body, &JobFileLimits::default());
            assert!(!found.is_empty(), "{body}");
            for message in found {
                let chinese = CHINESE.finding(&message);
                assert!(chinese.chars().any(|c| c >= '\u{4e00}'), "{body}: {message}");
                assert_eq!(ENGLISH.finding(&message), message);
            }
        }
    }

    #[test]
    fn templates_are_filled_with_the_values_of_the_message() {
        let message =
            "`duration` is 7: wan2.5-t2v makes 5 or 10 s, and the provider refuses or changes another length";
        let expected = "`duration` 为 7：wan2.5-t2v 只支持 5 或 10 秒，其他时长会被服务商拒绝或更改";
        assert_eq!(CHINESE.finding(message), expected);
        // What the user wrote is not translated, and may hold braces.
        let quoted = "`re {1} or` is unknown: `dropreel` knows `name` and `labels`";
        assert_eq!(CHINESE.finding(quoted), "`re {1} or` 未知：`dropreel` 支持 `name` 和 `labels`");
        assert_eq!(CHINESE.finding("something new"), "something new");
    }
}

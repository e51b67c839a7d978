//! The texts that scripts put together (`assets/texts.js`), in both languages, by their keys.

use crate::server::admin::page::messages::Messages;

/// Key, English, Chinese.
#[rustfmt::skip]
const TEXTS: &[(&str, &str, &str)] = &[
    ("one_job", "1 job", "1 个任务"),
    ("n_jobs", "{n} jobs", "{n} 个任务"),
    ("comma", ", ", "，"),
    ("semicolon", "; ", "；"),
    ("colon", ": ", "："),
    ("checking", "Checking …", "正在检查……"),
    ("submit", "Submit", "提交"),
    ("submitting", "Submitting …", "正在提交……"),
    ("submit_jobs", "Submit {jobs}, about {cost}", "提交 {jobs}，约 {cost}"),
    ("added_as", "Added: {names}", "已添加：{names}"),
    ("new_names", "New: {names}", "新任务：{names}"),
    ("again_title", "Run {name} again", "再次运行 {name}"),
    ("edit_title", "Edit {name}", "修改 {name}"),
    ("run_again_instead", "Run again with this text", "用这段内容再次运行"),
    ("no_submit", "Don’t submit", "不提交"),
    ("no_save", "Don’t save", "不保存"),
    ("save", "Save", "保存"),
    ("saving", "Saving …", "正在保存……"),
    ("save_job", "Save, about {cost}", "保存，约 {cost}"),
    ("saved", "{name} saved: it is checked and priced again", "已保存 {name}，将重新检查和计价"),
    ("seed_keep", "Keep {seed}", "保持 {seed}"),
    ("seed_none", "None, as before", "不指定，与之前相同"),
    ("seed_new", "A new one", "换一个"),
    ("seed_three", "Three new ones", "换三个"),
    ("uploading", "Uploading the picture …", "正在上传图片……"),
    ("upload_again", "Upload {name} again", "重新上传 {name}"),
    ("picture_too_large", "larger than 20 MiB", "超过 20 MiB"),
    ("picture_warning", "The picture {text}.", "图片提示：{text}"),
    ("pictures_off", "dropreel does not serve pictures from this computer: set `media.serve = true` and `callbacks.public_url` in config.toml and restart it (docs/local-pictures.md), or give the public address of the picture.", "dropreel 未提供本机图片：请在 config.toml 中设置 `media.serve = true` 和 `callbacks.public_url` 并重启（见 docs/local-pictures.md），或填写图片的公开地址。"),
    ("added", "{jobs} added", "已添加 {jobs}"),
    ("about", "about {cost}", "约 {cost}"),
    ("with_notes", "{text} ({notes})", "{text}（{notes}）"),
    ("range", "{low} to {high}", "{low} 至 {high}"),
    ("by_prices", "{n} by your price file", "{n} 个按你的价格文件"),
    ("by_quote", "{n} quoted", "{n} 个按服务商报价"),
    ("by_own", "{n} from {own} of your jobs", "{n} 个按你以往的 {own} 个任务"),
    ("by_config", "{n} by the provider’s list of models", "{n} 个按服务商的模型列表"),
    ("by_list", "{n} by list price", "{n} 个按标价"),
    ("by_guess", "{n} guessed: no price is known", "{n} 个为推测（价格未知）"),
    ("of_model", "{n} × {model}", "{n} × {model}"),
    ("more", "and {n} more", "另有 {n} 个"),
    ("at_line", "line {line}, column {column}", "第 {line} 行第 {column} 列"),
    ("remove", "Remove {name}", "移除 {name}"),
    ("accepted_before", "This file was already submitted at {time}.", "此文件已在 {time} 提交过。"),
    ("first_job", "See its first job", "查看其中第一个任务"),
    ("run_again", "Run it again, about {cost} more", "再运行一次，另需约 {cost}"),
    ("price_risen", "Not submitted: the price has changed from about {before} to about {now}. Submit again if that is fine.", "未提交：价格已从约 {before} 变为约 {now}。如可接受，请再次提交。"),
    ("fits", "{n} of {jobs} can be submitted now.", "共 {jobs}，其中 {n} 个现在可以提交。"),
    ("budget_of_day", "today’s budget", "今日预算"),
    ("budget_of_month", "this month’s budget", "本月预算"),
    ("budget_of_label", "the budget of {budget}", "{budget} 的预算"),
    ("unlisted", "The provider does not list the model {model}: such a job is held, not submitted.", "服务商的模型列表中没有 {model}：这样的任务不会提交，需人工处理。"),
    ("balance_short", "The balance of {balance} does not pay for it.", "余额 {balance} 不足以支付。"),
    ("balance_short_waiting", "The balance is {balance}; these need about {cost}, and the jobs that wait already about {waiting}.", "余额为 {balance}；这些任务约需 {cost}，已在等待的任务约需 {waiting}。"),
    ("budget_waits", "{jobs} wait: {left} are left of {budget} of {limit}. {then}", "{jobs}将等待：{budget} {limit} 还剩 {left}。{then}"),
    ("budget_short", "Together they need about {need} of {budget}; {left} of its {limit} are left. What does not fit waits. {then}", "合计约需 {need}，{budget} {limit} 还剩 {left}，超出的任务将等待。{then}"),
    ("budget_held", "{jobs} cost more than all of {budget} of {limit}: accepted, but held and not submitted.", "{jobs}的费用超过{budget}的全部 {limit}：会接收，但需人工处理，不会提交。"),
    ("budget_until", "It is renewed on {time}.", "{time} 重置。"),
    ("budget_until_raised", "They continue when it is raised.", "提高预算后继续。"),
    ("over_max_cost", "{jobs} above their own `max_cost_usd`: accepted, but held and not submitted.", "{jobs}超过其自身的 `max_cost_usd`：会接收，但需人工处理，不会提交。"),
    ("with_form", "Each line is a prompt, with the choices of the form: {choices}", "每行一个提示词，其余按表单中的选择：{choices}"),
    ("the_form", "the form", "表单"),
    ("other_model", "Another model …", "其他模型……"),
    ("any_ratio", "Default", "默认"),
    ("seconds", "{n} s", "{n} 秒"),
    ("bad_labels", "Labels are written as key=value, with commas between them.", "标签请写成 key=value，用逗号分隔。"),
    ("is_picture", "A picture, not a job file. Drop it by itself, and it goes into the form of a new job.", "这是图片，不是任务文件。单独拖放图片，即可放入新任务的表单。"),
    ("is_media", "A video or sound, not a job file.", "这是视频或音频，不是任务文件。"),
    ("is_pdf", "A PDF document, not a job file.", "这是 PDF 文档，不是任务文件。"),
    ("is_spreadsheet", "A spreadsheet, not a job file: save it as CSV UTF-8.", "这是电子表格，不是任务文件：请另存为 CSV UTF-8。"),
    ("is_document", "A text document, not a job file: job files are plain text named .json or .jsonl.", "这是文档，不是任务文件：任务文件是名为 .json 或 .jsonl 的纯文本。"),
    ("is_archive", "An archive, not a job file: unpack it and drop the files in it.", "这是压缩包，不是任务文件：请解压后放入其中的文件。"),
    ("is_binary", "Not a text: it has the name of a job file, but something else is in it.", "这不是文本：文件名像任务文件，内容却不是。"),
    ("is_unknown", "Not a job file by its name: job files end in .json, .jsonl, .ndjson, .csv or .prompts.txt.", "从文件名看不是任务文件：任务文件以 .json、.jsonl、.ndjson、.csv 或 .prompts.txt 结尾。"),
    ("is_too_long", "Longer than 256 MiB: split it into several files.", "超过 256 MiB：请拆分成多个文件。"),
    ("is_unreadable", "Cannot be read: a folder, or a file that was moved. Drop the files themselves.", "无法读取：可能是文件夹，或文件已被移动。请直接放入文件。"),
];

impl Messages {
    /// The texts for scripts, as JSON.
    pub(in crate::server::admin::page) fn script_texts(&self) -> String {
        let text = |(key, english, chinese): &(&str, &str, &str)| {
            let text = if self.is_chinese() { chinese } else { english };
            ((*key).to_owned(), (*text).into())
        };
        serde_json::Value::Object(TEXTS.iter().map(text).collect()).to_string()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn scripts_use_every_text_and_no_other() {
        let scripts = concat!(
            include_str!("../assets/texts.js"),
            include_str!("../assets/parts.js"),
            include_str!("../assets/review.js"),
            include_str!("../assets/form.js"),
            include_str!("../assets/picture_field.js"),
            include_str!("../assets/rework.js"),
            include_str!("../assets/submit.js"),
        );
        let keys: BTreeSet<&str> = TEXTS.iter().map(|(key, ..)| *key).collect();
        assert_eq!(keys.len(), TEXTS.len());
        let called = scripts.split(" t('").chain(scripts.split("(t('")).skip(1);
        let called: BTreeSet<&str> = called.filter_map(|rest| rest.split('\'').next()).collect();
        let unknown: Vec<_> = called.iter().filter(|key| is_word(key) && !keys.contains(**key)).collect();
        assert!(unknown.is_empty(), "{unknown:?}");
        let unused: Vec<_> = keys.iter().filter(|key| !scripts.contains(&format!("'{key}'"))).collect();
        assert!(unused.is_empty(), "{unused:?}");
    }

    fn is_word(text: &str) -> bool {
        text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
    }

    #[test]
    fn texts_have_the_same_placeholders_in_both_languages() {
        let placeholders = |text: &str| {
            let names = text.split('{').skip(1).filter_map(|rest| Some(rest.split_once('}')?.0.to_owned()));
            names.collect::<BTreeSet<_>>()
        };
        for (key, english, chinese) in TEXTS {
            assert_eq!(placeholders(english), placeholders(chinese), "{key}");
        }
    }
}

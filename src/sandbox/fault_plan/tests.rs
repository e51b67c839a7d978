use super::*;

#[test]
fn every_listed_value_parses_and_prints_as_written() {
    for fault in FaultPlan::names() {
        for choice in &fault.choices {
            let value = choice
                .text
                .replace("TIME", "30s")
                .replace("SIZE", "64KiB")
                .replace(":N", ":3")
                .replace("TEXT", "odd")
                .replace("WHERE", "metadata");
            let value = if value == "N" { "3".to_owned() } else { value };
            let text = format!("{}={value}", fault.name);
            let plan = FaultPlan::parse(&text).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(plan.to_string(), text);
            assert_eq!(FaultPlan::parse(&plan.to_string()), Ok(plan));
        }
    }
}

#[test]
fn plan_may_have_lines_commas_and_comments() {
    let plan = FaultPlan::parse(
        "submit=503x3,submit=504-done # first\n\n  size=64MiB\tlink=90s media=reset:1KiBx2\r\n",
    );
    let text = plan.expect("a plan").to_string();
    assert_eq!(text, "submit=503x3 submit=504-done media=reset:1KiBx2 size=64MiB link=90s");
}

#[test]
fn invalid_plan_is_refused_with_the_nearest_word() {
    for (text, message) in [
        ("sumbit=503", "the sandbox has no fault `sumbit`; the nearest is `submit`"),
        ("submit=htlm200", "the sandbox does not know `submit=htlm200`; the nearest is `submit=html200`"),
        ("media=sort", "the sandbox does not know `media=sort`; the nearest is `media=short`"),
        (
            "submit=slow:soon",
            "the sandbox does not know `submit=slow:soon`; the nearest is `submit=slow:TIME`",
        ),
        ("link=1week", "the sandbox does not know `link=1week`; the nearest is `link=TIME`"),
        ("submit", "`submit` needs a value, such as `submit=400`"),
        ("submit=503x", "the sandbox does not know `submit=503x`; the nearest is `submit=503`"),
    ] {
        assert_eq!(FaultPlan::parse(text).expect_err(text).to_string(), message);
    }
    assert_eq!(FaultPlan::from_prompt("a cat [sandbox: run=1s"), Err(FaultPlanError::Unclosed));
}

#[test]
fn prompt_replaces_the_run_name_by_name() {
    let run = FaultPlan::parse("submit=429 run=1s").expect("a plan");
    let prompt = FaultPlan::from_prompt("樱花 [sandbox: submit=503x2 submit=lost] petals").expect("a plan");
    assert_eq!(prompt.over(&run).to_string(), "submit=503x2 submit=lost run=1s");
    assert_eq!(FaultPlan::from_prompt("樱花").expect("a plan").over(&run), run);
}
